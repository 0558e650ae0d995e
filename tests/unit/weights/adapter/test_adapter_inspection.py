"""What an adapter is, and each way in which one is refused: by a sentence with field or tensor, and the remedy."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.model import AdapterFacts, TargetModule
from llama_serving.weights.adapter.inspection import examine_adapter
from llama_serving.weights.adapter.tensor_names import MODULES, lora_tensor
from llama_serving.weights.model.errors import RefusedError
from llama_serving.weights.model.folder import open_folder
from llama_serving.weights.resolve.progress import ReadProgress
from llama_serving.weights.resolve.report import Resolution
from llama_serving.weights.resolve.resolve import ResolveRequest, resolve
from llama_serving.weights.source.local import LocalSource
from llama_serving.weights.source.retry import RetryPolicy
from tests.fakes.adapters import CONFIG, PEFT, WEIGHTS, Adapter, adapter

Q = "base_model.model.model.layers.0.self_attn.q_proj"


def resolved(made: Adapter, folder: Path) -> Resolution:
    source = LocalSource(made.write(folder), revision="v1")
    request = ResolveRequest("pvc://models/sql", adapter=True)
    return asyncio.run(resolve(source, request, retry=RetryPolicy(deadline=0), progress=ReadProgress(lambda _: None)))


def test_a_whole_adapter_is_what_its_two_files_say(tmp_path: Path) -> None:
    made = adapter(modules=("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"), use_rslora=True)
    made = replace(made, beside={"README.md": b"---\nlicense: apache-2.0\n---\n", "optimizer.pt": b"x"})
    found = resolved(made, tmp_path)
    assert found.report.adapter == AdapterFacts(
        rank=4,
        alpha=8,
        use_rslora=True,
        base_model="meta-llama/Llama-3.1-8B-Instruct",
        target_modules=(
            TargetModule(name="down_proj", inputs=12, outputs=8),
            TargetModule(name="q_proj", inputs=8, outputs=8),
            TargetModule(name="v_proj", inputs=8, outputs=4),
        ),
        layers=2,
        dtype="bfloat16",
        tensors=12,
        bytes=sum(map(len, made.tensors.values())),
    )
    assert found.manifest == made.manifest(), (
        "two files, each tensor with its sha256, and nothing that lies beside them"
    )
    assert (found.report.facts, found.report.license) == (None, "apache-2.0")
    assert found.report.message.startswith("LoRA of rank 4, rsLoRA, alpha 8, bfloat16: 12 tensors of down_proj, q_proj")


def test_the_highest_rank_counts(tmp_path: Path) -> None:
    made = adapter(modules=("self_attn.q_proj",), rank_pattern={"layers.1.self_attn.q_proj": 16})
    shapes = {**made.shapes}
    shapes["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"] = [16, 8]
    shapes["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"] = [8, 16]
    facts = resolved(replace(made, shapes=shapes), tmp_path).report.adapter
    assert facts is not None
    assert facts.rank == 16


def test_tokens_beside_it_are_counted(tmp_path: Path) -> None:
    decoder = json.dumps({"added_tokens_decoder": {"128256": {"content": "<pad>"}}}).encode()
    made = replace(adapter(), beside={"added_tokens.json": b'{"<x>": 7}', "tokenizer_config.json": decoder})
    facts = resolved(made, tmp_path).report.adapter
    assert facts is not None
    assert facts.vocabulary == 128257


def without(name: str) -> Callable[[Adapter, Path], None]:
    def change(_: Adapter, folder: Path) -> None:
        (folder / name).unlink()

    return change


def says(**config: Any) -> Callable[[Adapter, Path], None]:
    def change(_: Adapter, folder: Path) -> None:
        kept = {key: value for key, value in {**PEFT, **config}.items() if value != "absent"}
        (folder / CONFIG).write_text(json.dumps(kept))

    return change


def holds(**shapes: list[int] | None) -> Callable[[Adapter, Path], None]:
    def change(made: Adapter, folder: Path) -> None:
        changed = {f"{Q}.{name.replace('__', '.')}": shape for name, shape in shapes.items()}
        every = {**made.shapes, **changed}
        replace(made, shapes={name: shape for name, shape in every.items() if shape is not None}).write(folder)

    return change


def named(name: str, shape: list[int]) -> Callable[[Adapter, Path], None]:
    def change(made: Adapter, folder: Path) -> None:
        replace(made, shapes={**made.shapes, name: shape}).write(folder)

    return change


def pickled(_: Adapter, folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def cut_off(_: Adapter, folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])


def huge_header(_: Adapter, folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((1 << 40).to_bytes(8, "little") + bytes(100))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without(CONFIG), "holds no adapter_config.json (it holds adapter_model.safetensors): name the folder that"),
        (without(WEIGHTS), "holds no adapter_model.safetensors: copy the whole adapter"),
        (pickled, "the adapter is in adapter_model.bin, a pickle, which can run code"),
        (cut_off, "adapter_model.safetensors is cut off"),
        (huge_header, "begins with a header of 1099511627776 bytes"),
        (says(peft_type="IA3"), "has peft_type IA3; only LORA is served"),
        (says(peft_type="absent"), "has peft_type None; only LORA is served"),
        (says(use_dora=True), "has use_dora True: the engine adds the matrices of LoRA and knows no magnitudes"),
        (says(bias="lora_only"), "has bias lora_only: the engine adds no biases"),
        (says(lora_bias=True), "has lora_bias True: the engine adds no biases"),
        (says(modules_to_save=["lm_head"]), "has modules_to_save ['lm_head']: these modules were trained whole"),
        (says(trainable_token_indices=[5]), "has trainable_token_indices [5]: embeddings were trained"),
        (says(init_lora_weights="pissa"), "has init_lora_weights pissa: this start changes the weights of the base"),
        (says(alora_invocation_tokens=[1]), "the engine knows no activated LoRA"),
        (says(layer_replication=[[0, 4]]), "the engine repeats no layers"),
        (says(target_modules="absent"), "has no target_modules"),
        (says(r=0), "r must be a whole number of at least 1 and is 0"),
        (says(r=True), "r must be a whole number of at least 1 and is True"),
        (says(r=513), "r is 513, and the engine takes ranks up to 512"),
        (says(lora_alpha="absent"), "lora_alpha must be a number and is None"),
        (says(rank_pattern={"q_proj": "x"}), "rank_pattern of q_proj must be a whole number"),
        (says(rank_pattern={"(a+)+$": 4}), "rank_pattern names (a+)+$, a regular expression: name the modules plainly"),
        (says(alpha_pattern={"q_proj": None}), "alpha_pattern of q_proj must be a number and is None"),
        (says(r=8), "the rank 4, adapter_config.json says 8: the two files are of different adapters"),
        (holds(lora_A__weight=None), f"holds only lora_B of {Q.removeprefix('base_model.model.')}"),
        (holds(lora_A__weight=[4, 9]), "8 inputs and 8 outputs, and q_proj of another layer 9 and 8"),
        (holds(lora_B__weight=[8, 5]), "lora_A of 4 x 8 and lora_B of 8 x 5, which do not fit"),
        (named("base_model.model.lm_head.lora_A.weight", [4, 8]), "embeddings were trained too, or tokens added"),
        (named("base_model.model.model.embed_tokens.base_layer.weight", [16, 8]), "embeddings were trained too"),
        (named(f"{Q}.lora_magnitude_vector", [8]), "which DoRA adds: train with use_dora false"),
        (named("base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight", [4, 8]), "has no place for"),
        (named("base_model.model.model.layers.0.mlp.q_proj.lora_A.weight", [4, 8]), "has no place for"),
        (named("base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight", [4, 8]), "has no place for"),
        (named(f"{Q}.lora_A.default.weight", [4, 8]), "has no place for"),
        (named("../../etc/passwd", [4, 8]), "holds ../../etc/passwd, which the engine has no place for"),
    ],
)
def test_what_the_engine_cannot_serve_is_refused(
    change: Callable[[Adapter, Path], None], sentence: str, tmp_path: Path
) -> None:
    made = adapter()
    change(made, made.write(tmp_path))
    with pytest.raises(RefusedError) as refused:
        examine_adapter(open_folder(tmp_path))
    assert sentence in refused.value.message
    assert not refused.value.message.endswith(".")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    made = replace(adapter(), beside={"tokenizer_config.json": b" " * 300_000})
    with pytest.raises(RefusedError, match=r"tokenizer_config\.json has 300000 bytes"):
        examine_adapter(open_folder(made.write(tmp_path)))
    (tmp_path / CONFIG).write_bytes(b" " * (2 << 20))
    with pytest.raises(RefusedError, match=r"adapter_config\.json has 2097152 bytes"):
        examine_adapter(open_folder(tmp_path))


@given(st.text(max_size=80))
def test_only_names_of_a_llamas_modules_have_a_place(name: str) -> None:
    found = lora_tensor(name)
    assert found is None or (found.name in MODULES and found.module.startswith("model.layers."))


@given(
    layer=st.integers(0, 999_999),
    module=st.sampled_from(sorted(MODULES)),
    half=st.sampled_from("AB"),
    prefixed=st.booleans(),
)
def test_a_name_says_layer_module_and_half(layer: int, module: str, half: str, *, prefixed: bool) -> None:
    whole = f"model.layers.{layer}.{MODULES[module]}.{module}"
    found = lora_tensor(f"{'base_model.model.' if prefixed else ''}{whole}.lora_{half}.weight")
    assert found is not None
    assert (found.module, found.layer, found.name, found.half) == (whole, layer, module, half)
