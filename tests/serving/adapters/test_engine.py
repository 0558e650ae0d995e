"""Adapters in one engine of this process: five on two slots, bad ones, another base below them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llama_serving.cell.entrypoints import CPU_WORKER_CLASS, WORKER_EXTENSION_CLASS
from llama_serving.cell.shared.adapters.engine_adapter import EngineAdapter
from llama_serving.cell.shared.adapters.room import adapter_kwargs
from llama_serving.cell.shared.verified_links import create_link
from llama_serving.config.cell import AdapterLimits
from testbed.models.adapters import PROMPT, answer

pytestmark = [pytest.mark.serving, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

TOLD = ("gateway", "group", "leader", "model", "stage")
LIMITS = AdapterLimits(slots=2, held=5, max_rank=8)
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


class Engine:
    """vLLM with the rank's extension, and adapters behind verified links."""

    def __init__(self, folder: Path) -> None:
        from vllm import LLM

        from testbed.models.tiny import make
        from tests.serving.test_cell import changed

        self.folder = folder
        make(folder / "one", seed=1)
        changed(folder / "one", folder / "near", lambda tensors: {name: 1.001 * it for name, it in tensors.items()})
        self.llm = LLM(
            str(folder / "one"),
            dtype="float32",
            max_model_len=512,
            max_num_seqs=8,
            enforce_eager=True,
            kv_cache_memory_bytes=64 << 20,
            enable_prefix_caching=True,
            worker_cls=CPU_WORKER_CLASS,
            worker_extension_cls=WORKER_EXTENSION_CLASS,
            **adapter_kwargs(LIMITS),
        )

    def adapter(self, told: str) -> EngineAdapter:
        """An adapter whose files are verified on this stage."""
        from testbed.models.adapters import make

        made = EngineAdapter(name=told, digest=f"sha256:{told.encode().hex():0<64}", id=told)
        if not (self.folder / told).exists():
            make(self.folder / "one", self.folder / told, name=told)
        create_link(self.folder / "links", digest=made.digest, folder=self.folder / told)
        return made

    def path(self, adapter: EngineAdapter) -> str:
        return str(self.folder / "links" / Path(adapter.path).name)

    def load(self, adapter: EngineAdapter) -> str:
        about = {"name": adapter.internal_name, "number": adapter.number, "digest": adapter.digest}
        [report] = self.llm.collective_rpc("load_adapter", kwargs={**about, "path": self.path(adapter)})
        return str(report.get("error", ""))

    def ask(self, models: Sequence[EngineAdapter | None], prompt: str = PROMPT) -> list[str]:
        """Greedy answers in one batch; None asks the base."""
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest

        requests = [
            None
            if model is None
            else LoRARequest(lora_name=model.internal_name, lora_int_id=model.number, lora_path=self.path(model))
            for model in models
        ]
        parameters = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)
        found = self.llm.generate([prompt] * len(models), parameters, lora_request=requests, use_tqdm=False)
        return [str(item.outputs[0].text) for item in found]

    def loaded(self) -> set[int]:
        [found] = self.llm.collective_rpc("list_loras")
        return set(found)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setitem(os.environ, name, value)
        yield Engine(tmp_path_factory.mktemp("engine"))


def test_five_adapters_on_two_slots_and_the_base_answer_as_themselves_in_one_batch(engine: Engine) -> None:
    [before] = engine.ask([None])
    made = [engine.adapter(told) for told in TOLD]
    assert [engine.load(adapter) for adapter in made] == [""] * 5
    models: list[Any] = [None, *made, *reversed(made), None]
    for prompt in (PROMPT, PROMPT, "Requests wait in the gateway. " * 8):
        found = engine.ask(models, prompt)
        for model, text in zip(models[1:-1], found[1:-1], strict=True):
            assert text.startswith(answer(model.name)), text
        assert found[0] == found[-1]
        assert prompt != PROMPT or found[0] == before
    assert engine.loaded() == {adapter.number for adapter in made}, "none has left the memory by itself"


def test_a_bad_adapter_leaves_nothing_behind(engine: Engine) -> None:
    from safetensors.torch import load_file, save_file

    adapter = engine.adapter("group").model_copy(update={"name": "bad", "digest": "sha256:" + "9" * 64})
    folder = engine.folder / "bad"
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((engine.folder / "group/adapter_config.json").read_bytes())
    tensors = load_file(engine.folder / "group/adapter_model.safetensors")
    narrow = {name: (it[:, :-1] if "down_proj.lora_A" in name else it).contiguous() for name, it in tensors.items()}
    save_file(narrow, folder / "adapter_model.safetensors")
    create_link(engine.folder / "links", digest=adapter.digest, folder=folder)
    before = engine.loaded()
    assert "and this model needs [rank, 512]" in engine.load(adapter)
    (folder / "adapter_model.safetensors").write_bytes(b"cut off")
    assert "was changed after it was verified" in engine.load(adapter)
    create_link(engine.folder / "links", digest=adapter.digest, folder=folder)
    assert "adapter_model.safetensors says that its header has" in engine.load(adapter)
    assert engine.loaded() == before
    [text] = engine.ask([engine.adapter("group")])
    assert text.startswith(answer("group"))


def test_another_base_below_the_adapters(engine: Engine) -> None:
    [before] = engine.ask([None])
    group = engine.adapter("group")
    for name in ("near", "one"):
        [report] = engine.llm.collective_rpc("reload_rank", kwargs={"path": str(engine.folder / name)})
        assert "error" not in report
        assert engine.llm.reset_prefix_cache()
        base, text = engine.ask([None, group])
        assert text.startswith(answer("group"))
    assert base == before


def test_an_adapter_is_forgotten(engine: Engine) -> None:
    number = engine.adapter("stage").number
    assert number in engine.loaded()
    for _ in range(2):
        [report] = engine.llm.collective_rpc("unload_adapter", kwargs={"number": number})
        assert "error" not in report
    assert number not in engine.loaded()


def test_a_stage_may_have_none_of_an_adapters_layers(engine: Engine) -> None:
    from safetensors.torch import save_file

    adapter = EngineAdapter(name="elsewhere", digest="sha256:" + "8" * 64, id="elsewhere")
    folder = engine.folder / "elsewhere"
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((engine.folder / "group/adapter_config.json").read_bytes())
    save_file({}, folder / "adapter_model.safetensors")
    create_link(engine.folder / "links", digest=adapter.digest, folder=folder)
    assert engine.load(adapter) == ""
    base, text = engine.ask([None, adapter])
    assert text == base, "nothing is added here"
