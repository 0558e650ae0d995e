"""LoRA adapters beside weights: after what serves, only the stage's matrices, and gone when nobody wants them."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from llama_serving.config import names
from llama_serving.config.desired import DesiredState, StagedWeights, WantedAdapter
from llama_serving.weights.staging.stager import Stager
from tests.fakes.adapters import CONFIG, WEIGHTS, Adapter, adapter, read_adapter
from tests.fakes.staging import MemorySource, Pod, checkpoint, until

BASE = checkpoint(layers=4, shards=2)
SECOND = checkpoint(seed=2, layers=4, shards=2)


class Sources:
    """Both models and the adapters, by the number of each; remembers the order in which they were opened."""

    def __init__(self, adapters: Sequence[Adapter]) -> None:
        self.opened: list[str] = []
        self._files = {"mem://model": BASE.files, "mem://second": SECOND.files}
        self._files |= {f"mem://{number}": made.files for number, made in enumerate(adapters)}
        self._files |= {f"pvc://models/{number}": made.files for number, made in enumerate(adapters)}

    def __call__(self, uri: str, *, revision: str, credentials: Path | None) -> MemorySource:
        del revision, credentials
        self.opened.append(uri)
        return MemorySource(self._files[uri])


def pod_of(root: Path, *adapters: Adapter, stage: int = 0, stages: int = 2) -> tuple[Pod, Sources]:
    """A pod that can reach all of them."""
    mine, sources = Pod(root, MemorySource({}), stage=stage, stages=stages), Sources(adapters)
    mine.open_source = sources
    return mine, sources


def desire(pod: Pod, *wanted: WantedAdapter, second: bool = False) -> None:
    staged = (SECOND.item(source="mem://second"),) if second else ()
    state = DesiredState(serve=BASE.item().weights, staged=(*staged, BASE.item()), adapters=wanted)
    (pod.root / "desired.json").write_text(state.model_dump_json())


def adapters_of(stager: Stager) -> tuple[StagedWeights, ...]:
    return stager.state.adapters if stager.state else ()


def count_ready(stager: Stager) -> int:
    return sum(one.outcome == "ready" for one in adapters_of(stager))


async def ready(stager: Stager, count: int) -> tuple[StagedWeights, ...]:
    await until(stager, lambda _: count_ready(stager) >= count)
    return adapters_of(stager)


def folder_of(pod: Pod, wanted: WantedAdapter) -> Path:
    path = names.staged_adapter_path(wanted.adapter.digest, stage=pod.stage, stages=pod.stages)
    return pod.mount / Path(path).relative_to(names.WEIGHTS_MOUNT)


@pytest.mark.parametrize("stages", [1, 2, 3])
async def test_all_stages_together_hold_the_adapter_and_bring_little_more(tmp_path: Path, stages: int) -> None:
    made = adapter(layers=4, rank=64)
    wanted = made.wanted(layers=4, source="mem://0")
    union: dict[str, bytes] = {}
    for stage in range(stages):
        pod, _ = pod_of(tmp_path / str(stage), made, stage=stage, stages=stages)
        desire(pod, wanted)
        (staged,) = await ready(pod.stager(), 1)
        mine = read_adapter(folder_of(pod, wanted))
        needed = sum(map(len, mine.values())) + len(made.files[CONFIG])
        assert staged.bytes_done == staged.bytes_total == needed
        assert staged.digest == wanted.adapter.digest
        assert not union.keys() & mine.keys(), "no matrix lies on two stages"
        assert json.loads((folder_of(pod, wanted) / CONFIG).read_bytes()) == made.config
        assert sorted(path.name for path in folder_of(pod, wanted).iterdir()) == [CONFIG, WEIGHTS, "staged.json"]
        union |= mine
    assert union == made.tensors


async def test_adapters_come_after_what_serves_and_before_what_is_only_staged(tmp_path: Path) -> None:
    first, second = adapter(layers=4), adapter(layers=4, seed=2)
    pod, sources = pod_of(tmp_path, first, second)
    desire(pod, first.wanted(source="mem://0"), second.wanted("two", source="mem://1"), second=True)
    stager = pod.stager()
    await until(stager, lambda seen: {one.outcome for one in seen.values()} == {"ready"} and count_ready(stager) == 2)
    assert sources.opened == ["mem://model", "mem://0", "mem://1", "mem://second"]


async def test_one_that_is_not_wanted_any_more_goes_and_the_others_stay(tmp_path: Path) -> None:
    first, second = adapter(layers=4), adapter(layers=4, seed=2)
    pod, sources = pod_of(tmp_path, first, second)
    one, two = first.wanted(source="mem://0"), second.wanted("two", source="mem://1")
    desire(pod, one, two)
    stager = pod.stager()
    await ready(stager, 2)
    desire(pod, two)
    await until(stager, lambda _: not folder_of(pod, one).parent.exists())
    assert folder_of(pod, two).is_dir()
    assert [staged.digest for staged in adapters_of(stager)] == [two.adapter.digest]
    assert sources.opened.count("mem://1") == 1


async def test_a_new_stager_verifies_what_lies_there_and_reads_nothing(tmp_path: Path) -> None:
    made = adapter(layers=4)
    pod, sources = pod_of(tmp_path, made)
    wanted = made.wanted(layers=4, source="mem://0")
    desire(pod, wanted)
    await ready(pod.stager(), 1)
    sources.opened.clear()
    await ready(pod.stager(), 1)
    assert sources.opened == []


async def test_a_damaged_one_is_brought_again(tmp_path: Path) -> None:
    made = adapter(layers=4)
    pod, sources = pod_of(tmp_path, made)
    wanted = made.wanted(layers=4, source="mem://0")
    desire(pod, wanted)
    await ready(pod.stager(), 1)
    file = folder_of(pod, wanted) / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    await ready(pod.stager(), 1)
    assert sources.opened.count("mem://0") == 2
    assert read_adapter(folder_of(pod, wanted)).items() <= made.tensors.items()


async def test_other_bytes_than_the_manifests_are_refused_and_the_base_is_ready(tmp_path: Path) -> None:
    made, other = adapter(layers=4), adapter(layers=4, seed=9)
    pod, _ = pod_of(tmp_path, other)
    desire(pod, made.wanted(layers=4, source="mem://0"))
    stager = pod.stager()
    await until(stager, lambda _: any(one.outcome == "refused" for one in adapters_of(stager)))
    assert adapters_of(stager)[0].reason == "DigestDiffers"
    assert stager.state is not None
    assert [one.outcome for one in stager.state.weights] == ["ready"]


async def test_an_adapter_of_a_claim_is_copied(tmp_path: Path) -> None:
    made = adapter(layers=4)
    pod, _ = pod_of(tmp_path, made)
    wanted = made.wanted(layers=4, source="mem://0")
    desire(pod, wanted.model_copy(update={"source": "pvc://models/0"}))
    await ready(pod.stager(), 1)
    assert read_adapter(folder_of(pod, wanted))
