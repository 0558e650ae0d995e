"""A good folder gives facts; each way in which a folder is bad gives its reason and its sentence."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.model import ModelReport
from llama_serving.config.reasons import CellReason
from llama_serving.weights.model.inspection import REPORT_LIMIT, encode, inspect
from tests.unit.weights.model.folders import (
    FIRST,
    SECOND,
    TENSORS,
    edit_json,
    header,
    make_model,
    safetensors,
    split,
    with_header,
    write_json,
)

Change = Callable[[Path], object]

INDEX = "model.safetensors.index.json"
MISSING, UNREADABLE, REFUSED = CellReason.WEIGHTS_MISSING, CellReason.WEIGHTS_UNREADABLE, CellReason.MODEL_REFUSED


def test_facts_of_a_good_folder(tmp_path: Path) -> None:
    report = inspect(make_model(tmp_path / "m"))
    assert (report.outcome, report.reason) == ("accepted", "Accepted"), report.message
    assert report.facts is not None
    assert report.facts.model_dump() == {
        "architecture": "LlamaForCausalLM",
        "layers": 2,
        "hidden_size": 8,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 2,
        "vocabulary": 16,
        "max_context": 128,
        "dtype": "bfloat16",
        "quantization": "",
        "intermediate_size": 11008,
        "tied_embeddings": False,
        "files": 2,
        "bytes": 2 * (2 * 16 * 8 + 3 * 8),
    }
    assert "2 layers, 4 heads and 2 KV heads, bfloat16: 560 bytes in 2 files" in report.message


def facts(folder: Path) -> dict[str, Any]:
    report = inspect(folder)
    assert report.facts is not None, report.message
    return report.facts.model_dump()


def test_one_file_without_an_index(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    for name in (FIRST, SECOND, INDEX):
        (folder / name).unlink()
    (folder / "model.safetensors").write_bytes(safetensors(TENSORS))
    assert facts(folder)["files"] == 1


@pytest.mark.parametrize("name", ["chat-lora.safetensors", "pytorch_lora_weights.safetensors"])
def test_a_whole_model_that_is_named_after_an_adapter(tmp_path: Path, name: str) -> None:
    folder = make_model(tmp_path / "m")
    drop(FIRST, SECOND, INDEX)(folder)
    (folder / name).write_bytes(safetensors(TENSORS))
    assert facts(folder)["files"] == 1


def test_defaults_of_config_json(tmp_path: Path) -> None:
    found = facts(make_model(tmp_path / "m", num_key_value_heads=None, torch_dtype=None))
    assert (found["kv_heads"], found["dtype"]) == (4, "bfloat16")  # the dtype is that of the tensors


def test_quantized_tied_and_with_a_head_size_of_its_own(tmp_path: Path) -> None:
    folder = make_model(
        tmp_path / "m",
        quantization_config={"quant_method": "fp8", "activation_scheme": "dynamic"},
        tie_word_embeddings=True,
        head_dim=16,
        dtype="float16",
    )
    found = facts(folder)
    assert (found["quantization"], found["tied_embeddings"], found["head_dim"]) == ("fp8", True, 16)
    assert found["dtype"] == "float16"  # the newer key wins


def test_pickles_beside_safetensors_are_passed_over(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    (folder / "consolidated.safetensors").write_bytes(b"not in the index, so not looked at")
    assert facts(folder)["files"] == 2


def test_links_as_in_the_hugging_face_cache(tmp_path: Path) -> None:
    blobs = make_model(tmp_path / "blobs")
    snapshot = tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert facts(snapshot)["files"] == 2


def drop(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def write(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def config(**changes: Any) -> Change:
    return lambda folder: edit_json(folder / "config.json", **changes)


def weights(entries: dict[str, Any], size: int) -> Change:
    return write(SECOND, with_header(entries, size))


def second(**changes: Any) -> Change:
    """The second file with the entry of lm_head changed."""
    entries, size = header(split()[1])
    entries["lm_head.weight"] |= changes
    return weights(entries, size)


def cut(name: str, keep: int) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def replace_with_folder(folder: Path) -> None:
    (folder / SECOND).unlink()
    (folder / SECOND).mkdir()


def replace_with_pipe(folder: Path) -> None:
    (folder / SECOND).unlink()
    os.mkfifo(folder / SECOND)


def replace_with_broken_link(folder: Path) -> None:
    (folder / SECOND).unlink()
    (folder / SECOND).symlink_to("../../blobs/0123")


def replace_with_circle(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(f"other-{name}")
        (folder / f"other-{name}").symlink_to(name)

    return change


def only(name: str) -> Change:
    def change(folder: Path) -> None:
        drop(FIRST, SECOND, INDEX)(folder)
        (folder / name).write_bytes(b"x")

    return change


def index(weight_map: Any) -> Change:
    return lambda folder: write_json(folder / INDEX, {"weight_map": weight_map})


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"

BAD: dict[str, tuple[Change, CellReason, str]] = {
    # the folder
    "no config": (drop("config.json"), MISSING, "config.json is not in "),
    "config is no json": (write("config.json", b"{"), UNREADABLE, "config.json is no JSON"),
    "config is nested deeply": (write("config.json", b"[" * 200_000), UNREADABLE, "config.json is no JSON"),
    "config is a list": (write("config.json", b"[]"), UNREADABLE, "config.json holds no JSON object"),
    "config with a mark": (write("config.json", b"\xef\xbb\xbf{}"), UNREADABLE, "begins with a byte order mark"),
    "config is a pointer": (write("config.json", LFS), UNREADABLE, "run git lfs pull"),
    "no tokenizer": (drop("tokenizer.json"), MISSING, "neither tokenizer.json nor tokenizer.model"),
    "tokenizer is a pointer": (write("tokenizer.json", LFS), UNREADABLE, "tokenizer.json is a pointer of Git LFS"),
    # code
    "code in config": (config(auto_map={"AutoConfig": "x.Y"}), REFUSED, "config.json has an auto_map"),
    "code in tokenizer": (
        write("tokenizer_config.json", b'{"auto_map": {}}'),
        REFUSED,
        "tokenizer_config.json has an auto_map",
    ),
    # the architecture
    "another architecture": (
        config(architectures=["MistralForCausalLM"]),
        REFUSED,
        "names the architecture MistralForCausalLM; only LlamaForCausalLM is served",
    ),
    "two architectures": (config(architectures=["LlamaForCausalLM", "B"]), REFUSED, "LlamaForCausalLM, B;"),
    "no architecture": (config(architectures=[]), REFUSED, "names the architecture none;"),
    "architecture is no list": (config(architectures=7), REFUSED, "names the architecture none;"),
    "another model type": (config(model_type="mistral"), REFUSED, "model_type mistral instead of llama"),
    # sizes
    "no layers": (config(num_hidden_layers=0), REFUSED, "num_hidden_layers must be a positive whole number and is 0"),
    "layers as text": (config(num_hidden_layers="2"), REFUSED, "num_hidden_layers must be a positive whole number"),
    "layers as flag": (config(num_hidden_layers=True), REFUSED, "num_hidden_layers must be a positive whole number"),
    "too many layers": (config(num_hidden_layers=10**30), REFUSED, "num_hidden_layers must be a positive"),
    "no context": (config(max_position_embeddings=None), REFUSED, "max_position_embeddings must be a positive"),
    "heads not a multiple of kv heads": (
        config(num_key_value_heads=3),
        REFUSED,
        "num_attention_heads (4) is no mult",
    ),
    "hidden not a multiple of heads": (config(hidden_size=10), REFUSED, "hidden_size (10) is no multiple"),
    "quantized somehow": (config(quantization_config={}), REFUSED, "must name its quant_method"),
    # formats
    "no weights": (drop(FIRST, SECOND, INDEX), MISSING, "holds no *.safetensors file (it holds config.json"),
    "only pickles": (only("pytorch_model.bin"), REFUSED, "pytorch_model.bin; only safetensors files are loaded"),
    "only gguf": (only("model-q4.gguf"), REFUSED, "model-q4.gguf; only safetensors"),
    # the index
    "index is no json": (write(INDEX, b"\xff"), UNREADABLE, f"{INDEX} is no JSON"),
    "index without a map": (index({}), UNREADABLE, "has no weight_map"),
    "index to numbers": (index({"a": 1}), UNREADABLE, "has no weight_map"),
    "index names a missing file": (drop(SECOND), MISSING, f"names 1 files that are not there ({SECOND})"),
    "index climbs out": (index({"a": "../other/model.safetensors"}), REFUSED, "outside of the folder"),
    "index to an absolute path": (index({"a": "/etc/passwd"}), REFUSED, "names /etc/passwd, outside of the folder"),
    "index of another model": (index({"alien": FIRST}), UNREADABLE, f"puts alien into {FIRST}, whose header does not"),
    # files that are none
    "a folder in place of a file": (replace_with_folder, UNREADABLE, f"{SECOND} is a folder, not a file"),
    "a pipe in place of a file": (replace_with_pipe, UNREADABLE, f"{SECOND} is a device or pipe"),
    "a link to nothing": (replace_with_broken_link, MISSING, "is a link to ../../blobs/0123, which is not there"),
    "weights are a circle": (replace_with_circle(SECOND), UNREADABLE, f"{SECOND} cannot be read (links in a circle)"),
    "config is a circle": (replace_with_circle("config.json"), UNREADABLE, "config.json cannot be read (links in a"),
    "a small file is a circle": (replace_with_circle("generation_config.json"), UNREADABLE, "links in a circle"),
    "weights are a pointer": (write(SECOND, LFS), UNREADABLE, f"{SECOND} is a pointer of Git LFS"),
    # files that are cut off or garbage
    "empty file": (write(SECOND, b""), UNREADABLE, "has 0 bytes, too few for a safetensors file"),
    "cut inside the header": (cut(SECOND, 50), UNREADABLE, "is cut off inside its header: it has 50 bytes"),
    "cut inside the tensors": (cut(SECOND, -100), UNREADABLE, f"{SECOND} is cut off: it has"),
    "bytes behind the tensors": (
        write(SECOND, safetensors(split()[1]) + b"more"),
        UNREADABLE,
        f"{SECOND} is too long: it has",
    ),
    "huge header": (write(SECOND, struct.pack("<Q", 1 << 62) + b"{}"), UNREADABLE, "a header of 4611686018427387904"),
    "garbage": (write(SECOND, b"\x89PNG\r\n\x1a\n" + bytes(100)), UNREADABLE, "is no safetensors file"),
    "header is no json": (write(SECOND, struct.pack("<Q", 4) + b"abcd"), UNREADABLE, f"the header of {SECOND} is no"),
    "header is a number": (write(SECOND, struct.pack("<Q", 1) + b"7"), UNREADABLE, "holds no JSON object"),
    "entry without a shape": (second(shape=None), UNREADABLE, "describes lm_head.weight wrongly"),
    "negative shape": (second(shape=[-1]), UNREADABLE, "describes lm_head.weight wrongly"),
    "offsets backwards": (second(data_offsets=[9, 1]), UNREADABLE, "describes lm_head.weight wrongly"),
    "shape of another size": (second(shape=[16, 9]), UNREADABLE, "256 bytes instead of 288"),
    "gap between tensors": (second(shape=[1], data_offsets=[34, 36]), UNREADABLE, "overlap or leave a gap at byte 32"),
    "overlapping tensors": (second(shape=[1], data_offsets=[2, 4]), UNREADABLE, "overlap or leave a gap"),
    # what does not fit together
    "layers without weights": (config(num_hidden_layers=4), MISSING, "lack 2 of them (layer 2, 3)"),
    "tensors of another size": (config(vocab_size=32), UNREADABLE, "embedding of 32 x 8, the weights have 16 x 8"),
}


@pytest.mark.parametrize(("change", "reason", "sentence"), BAD.values(), ids=BAD.keys())
def test_refusals(tmp_path: Path, *, change: Change, reason: CellReason, sentence: str) -> None:
    folder = make_model(tmp_path / "m")
    change(folder)
    report = inspect(folder)
    assert (report.outcome, report.reason, report.facts) == ("refused", reason, None), report.message
    assert sentence in report.message


@pytest.mark.parametrize(("lost", "tied"), [("model.embed_tokens.weight", True), ("lm_head.weight", False)])
def test_embeddings_must_be_there(tmp_path: Path, lost: str, tied: bool) -> None:
    folder = make_model(tmp_path / "m", tie_word_embeddings=tied)
    drop(FIRST, SECOND, INDEX)(folder)
    rest = {name: shape for name, shape in TENSORS.items() if name != lost}
    (folder / "model.safetensors").write_bytes(safetensors(rest))
    report = inspect(folder)
    assert report.reason == MISSING
    assert f"the weights lack {lost}" in report.message


def test_a_folder_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    make_model(tmp_path / "llama-8b")
    report = inspect(tmp_path / "llama-70b" / "v1")
    assert report.reason == MISSING
    assert f"({tmp_path} holds llama-8b): check the path in model.source" in report.message


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("")
    assert "is a file: model.source must name the folder" in inspect(tmp_path / "m").message


def test_a_folder_that_is_a_circle(tmp_path: Path) -> None:
    (tmp_path / "m").symlink_to("m")
    assert "m cannot be read (links in a circle)" in inspect(tmp_path / "m").message


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    assert inspect(tmp_path / "m").reason == MISSING


def test_names_from_the_folder_cannot_break_the_sentence(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    for name in (FIRST, SECOND, INDEX):
        (folder / name).unlink()
    (folder / ("evil\n\x1b[31m" + "x" * 200 + ".bin")).write_bytes(b"")
    message = inspect(folder).message
    assert message.isprintable()
    assert len(message) < 500


def test_a_report_can_be_read_back(tmp_path: Path) -> None:
    report = inspect(make_model(tmp_path / "m"))
    assert ModelReport.model_validate_json(encode(report)) == report
    assert (report.outcome, report.message[:31]) == ("accepted", "LlamaForCausalLM of 2 layers, 4")


def test_a_refusal_is_a_result_not_a_failure(tmp_path: Path) -> None:
    report = json.loads(encode(inspect(tmp_path / "nothing")))
    assert (report["outcome"], report["reason"]) == ("refused", "WeightsMissing")


@given(st.text(max_size=9000))
def test_a_report_never_outgrows_the_termination_message(message: str) -> None:
    report = ModelReport(outcome="refused", reason="ModelRefused", message=message)
    text = encode(report)
    assert len(text) <= REPORT_LIMIT
    back = ModelReport.model_validate_json(text)
    assert message.startswith(back.message)
    assert back == report or len(text) > REPORT_LIMIT - 32
