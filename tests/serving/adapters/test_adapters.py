"""LoRA adapters in a cell of two stages: each answers as itself, whatever is added, changed, removed or killed.

Each adapter was trained to answer with its name, so a token of another one, or of the base, shows.
"""

import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from llama_serving.config import names
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.desired import DesiredState, WantedAdapter
from testbed.models.adapters import answer
from tests.serving.adapters.files import TENSORS, stage, staged, wanted
from tests.serving.cells import Cell, cell_config, running_cell, weights
from tests.serving.pods import eventually

pytestmark = [pytest.mark.serving, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

START = 300  # seconds
SOON = 60
TOLD = ("gateway", "group", "leader", "model", "stage")
PROMPTS = ("Who are you?", "Requests wait in the gateway. " * 8)
LIMITS = AdapterLimits(slots=2, held=5, max_rank=8)


class Adapters:
    """A cell with adapters, and what its operator and its stagers have said so far."""

    def __init__(self, cell: Cell, folders: Path, mount: Path) -> None:
        self.cell = cell
        self.folders = folders
        self.mount = mount
        self.base = "one"
        self.desired: dict[str, WantedAdapter] = {}
        self.staged: dict[str, WantedAdapter] = {}

    def folder(self, told: str) -> Path:
        return self.folders / told

    def want(self, folder: Path, *, name: str | None = None) -> WantedAdapter:
        """Stage an adapter's files and desire it, in place of another of its name."""
        adapter = wanted(folder, name=name)
        if adapter.adapter.digest not in self.staged:
            stage(folder, adapter, mount=self.mount)
        self.staged[adapter.adapter.digest] = adapter
        self.desired[adapter.adapter.name] = adapter
        self.say()
        return adapter

    def leave(self, name: str) -> None:
        del self.desired[name]
        self.say()

    def say(self) -> None:
        self.cell.stages("one", "near", adapters=tuple(staged(adapter) for adapter in self.staged.values()))
        self.cell.desire(DesiredState(serve=weights(self.base), adapters=tuple(self.desired.values())))

    def outcomes(self) -> dict[str, str]:
        return {found["name"]: found["outcome"] for found in self.cell.state()["adapters"]}

    def becomes(self, **outcomes: str) -> None:
        """Wait until these adapters, and all others as ready, are what the leader says."""
        expected = dict.fromkeys(self.desired, "ready") | outcomes
        digests = {adapter.adapter.digest for adapter in self.desired.values()}

        def seen() -> bool:
            found = self.cell.state()["adapters"]
            return self.outcomes() == expected and {item["digest"] for item in found} == digests

        eventually(seen, within=SOON, what=f"{expected}", tail=lambda: f"{self.cell.state()['adapters']}")

    def message(self, name: str) -> str:
        [found] = [item for item in self.cell.state()["adapters"] if item["name"] == name]
        return str(found["message"])

    def loaded(self) -> set[str]:
        return {item["adapter"]["digest"] for item in self.cell.engine_state()["adapters"]}


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapters]:
    from testbed.models.adapters import make as make_adapter
    from testbed.models.tiny import make as make_model

    folder = tmp_path_factory.mktemp("adapters")
    for part in ("models", "adapters", "staged", "cell"):
        (folder / part).mkdir()
    make_model(folder / "models/one", seed=1)
    near(folder / "models/one", folder / "models/near")
    for told in TOLD:
        make_adapter(folder / "models/one", folder / "adapters" / told, name=told)
    config = cell_config(model="one", adapters=LIMITS)
    with running_cell(config, models=folder / "models", folder=folder / "cell", staged=folder / "staged") as running:
        running.stages("one")
        eventually(lambda: running.ready() and running.ready(1), within=START, what="serving", tail=running.logs)
        yield Adapters(running, folder / "adapters", folder / "staged")


def near(source: Path, out: Path) -> None:
    """A base on which adapters of ``source`` still tell their names: every matrix a thousandth longer."""
    from tests.serving.test_cell import changed

    changed(source, out, lambda tensors: {name: tensor * 1.001 for name, tensor in tensors.items()})


def ask(cell: Cell, model: str, prompt: str = PROMPTS[0], *, tokens: int = 12, expected: str = "") -> tuple[str, Any]:
    """The text of a greedy answer, and its headers."""
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    headers = {"content-type": "application/json"} | ({names.HEADER_ADAPTER: expected} if expected else {})
    url = f"http://{cell.leader.ip}:{names.PORT_ENGINE}/v1/completions"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=120) as said:
        found = json.loads(said.read())
        assert found["model"] == model
        return str(found["choices"][0]["text"]), said.headers


def tells(cell: Cell, model: str, told: str, *, prompt: str = PROMPTS[0]) -> None:
    """The adapter behind a name answers as the one that was trained to tell ``told``, and says which it is."""
    text, headers = ask(cell, model, prompt)
    assert text.startswith(answer(told)), text
    assert headers[names.HEADER_ADAPTER] == f"id-of-{told}"


def refused(cell: Cell, model: str, *, expected: str = "") -> tuple[int, str]:
    """Status and code of a refusal."""
    with pytest.raises(HTTPError) as caught:
        ask(cell, model, expected=expected)
    return caught.value.code, str(json.loads(caught.value.read())["error"]["code"])


def test_five_adapters_on_two_slots_answer_as_themselves_and_the_base_as_before(adapters: Adapters) -> None:
    cell = adapters.cell
    before = [ask(cell, "llama", prompt)[0] for prompt in PROMPTS]
    for told in TOLD:
        adapters.want(adapters.folder(told))
    assert refused(cell, "nobody") == (404, names.CODE_MODEL_NOT_FOUND)
    adapters.becomes()
    for found in cell.state()["adapters"]:
        assert (found["base"], found["golden"][0]["passed"]) == (weights("one").digest, True)
    for told in TOLD:
        tells(cell, told, told, prompt=PROMPTS[1])
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(tells, cell, told, told, prompt=prompt) for prompt in PROMPTS for told in TOLD * 2]
        base = [pool.submit(ask, cell, "llama", prompt) for prompt in PROMPTS]
        for future in asked:
            future.result()
        assert [future.result()[0] for future in base] == before
    answered = ask(cell, "llama")
    assert (answered[0], answered[1][names.HEADER_ADAPTER]) == (before[0], None)


def test_a_name_is_answered_by_the_adapter_that_was_expected_or_not_at_all(adapters: Adapters) -> None:
    cell = adapters.cell
    assert ask(cell, "group", expected="id-of-group")[0].startswith(answer("group"))
    assert refused(cell, "group", expected="id-of-model") == (409, names.CODE_ADAPTER_ABSENT)
    assert refused(cell, "llama", expected="id-of-model") == (409, names.CODE_ADAPTER_ABSENT)
    internal = cell.engine_state()["adapters"][0]["adapter"]
    assert refused(cell, f"{internal['name']}@{internal['digest'][7:23]}") == (404, names.CODE_MODEL_NOT_FOUND)


def test_an_adapter_is_changed_while_requests_run_and_leaves_when_unused(adapters: Adapters) -> None:
    cell, old = adapters.cell, adapters.desired["gateway"].adapter.digest
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(ask, cell, "gateway", tokens=200)
        adapters.want(adapters.folder("model"), name="gateway")
        adapters.becomes()
        tells(cell, "gateway", "model")
        text, headers = long.result()
    assert set(text.split()) == {"gateway"}, "begun with the old one, ended with it"
    assert headers[names.HEADER_ADAPTER] == "id-of-gateway"
    eventually(lambda: old not in adapters.loaded(), within=SOON, what="the old one has left")
    tells(cell, "model", "model")


def test_an_adapter_is_removed(adapters: Adapters) -> None:
    digest = adapters.desired["group"].adapter.digest
    adapters.leave("group")
    eventually(lambda: digest not in adapters.loaded(), within=SOON, what="it has left")
    assert refused(adapters.cell, "group") == (404, names.CODE_MODEL_NOT_FOUND)
    tells(adapters.cell, "leader", "leader")


def test_adapters_that_do_not_load_are_refused_with_a_sentence_and_nobody_else_notices(
    adapters: Adapters, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    tensors = load_file(adapters.folder("group") / TENSORS)
    pid = adapters.cell.engine_state()["pid"]
    said: dict[str, dict[str, Any]] = {
        "narrow": {name: it[:, :-1] if "down_proj.lora_A" in name else it for name, it in tensors.items()},
        "wide": {name: _wide(name, it) for name, it in tensors.items()},
    }
    sentences = {"narrow": "this model needs [rank, 512]", "wide": "has rank 16, and the engine takes ranks up to 8"}
    for name, changed_tensors in said.items():
        adapters.want(variant(adapters.folder("group"), tmp_path / name, changed_tensors), name=name)
        adapters.becomes(**{name: "refused"})
        assert sentences[name] in adapters.message(name)
        assert refused(adapters.cell, name) == (409, names.CODE_ADAPTER_ABSENT)
        adapters.leave(name)
    assert adapters.cell.engine_state()["pid"] == pid
    tells(adapters.cell, "leader", "leader")


def _wide(name: str, tensor: Any) -> Any:
    import torch

    return torch.cat([tensor, tensor], dim=0 if "lora_A" in name else 1)


def variant(source: Path, out: Path, tensors: dict[str, Any]) -> Path:
    """A copy of an adapter with other tensors."""
    from safetensors.torch import save_file

    shutil.copytree(source, out)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / TENSORS, metadata={"format": "pt"})
    return out


def test_a_base_swap_verifies_every_adapter_on_the_new_base(adapters: Adapters) -> None:
    cell = adapters.cell
    base = ask(cell, "llama", PROMPTS[1])[0]
    for name in ("near", "one"):
        adapters.base = name
        adapters.say()
        digest = weights(name).digest
        eventually(lambda: cell.state()["weights"] == name, within=SOON, what=f"weights {name}", tail=cell.logs)  # noqa: B023
        eventually(
            lambda: (
                {item["base"] for item in cell.state()["adapters"] if item["outcome"] == "ready"} == {digest}  # noqa: B023
                and set(adapters.outcomes().values()) == {"ready"}
            ),
            within=SOON,
            what=f"all adapters on {name}",
            tail=lambda: f"{cell.state()['adapters']}",
        )
        tells(cell, "leader", "leader", prompt=PROMPTS[1])
    assert ask(cell, "llama", PROMPTS[1])[0] == base


def test_adapters_are_back_after_a_stage_was_killed(adapters: Adapters) -> None:
    cell, pid = adapters.cell, adapters.cell.engine_state()["pid"]
    [rank] = cell.worker.processes("StageProc")
    os.kill(rank, signal.SIGKILL)
    eventually(lambda: cell.engine_state()["pid"] != pid, within=START, what="another engine", tail=cell.logs)
    eventually(cell.ready, within=START, what="serving", tail=cell.logs)
    adapters.becomes()
    for name, told in (("gateway", "model"), ("leader", "leader"), ("model", "model"), ("stage", "stage")):
        tells(cell, name, told)
