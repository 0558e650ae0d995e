"""The desired state is a level: its order is the order of work, a new one changes the work at once, nothing is lost."""

import json
from dataclasses import replace
from pathlib import Path

from llama_serving.config.desired import StagingState, WeightsArtifact
from tests.fakes.staging import Checkpoint, MemorySource, Pod, checkpoint, until, until_outcome

MODELS = [checkpoint(seed=seed, layers=4, shards=2) for seed in range(3)]


def item(number: int) -> WeightsArtifact:
    return MODELS[number].item(source=f"mem://{number}")


class Sources:
    """All models; remembers the order in which they were opened, and what was read of each."""

    def __init__(self) -> None:
        self.opened: list[int] = []
        self.each = [MemorySource(model.files, piece=2000) for model in MODELS]

    def __call__(self, uri: str, *, revision: str, credentials: Path | None) -> MemorySource:
        del revision, credentials
        number = int(uri.removeprefix("mem://"))
        self.opened.append(number)
        return self.each[number]


def pod(root: Path) -> tuple[Pod, Sources]:
    mine, sources = Pod(root, MemorySource({})), Sources()
    mine.open_source = sources
    return mine, sources


async def test_what_serves_comes_first_then_the_order_of_the_desired_state(tmp_path: Path) -> None:
    mine, sources = pod(tmp_path)
    mine.desire(item(1), item(0), item(2), serve=item(0))
    stager = mine.stager()
    await until(stager, lambda seen: {staged.outcome for staged in seen.values()} == {"ready"})
    assert sources.opened == [0, 1, 2]


async def test_the_desired_state_replaces_what_the_pod_starts_with(tmp_path: Path) -> None:
    mine, sources = pod(tmp_path)
    mine.configure(item(0))
    mine.desire(item(1))
    await until_outcome(mine.stager(), item(1), "ready")
    assert sources.opened == [1]


async def test_a_new_desired_state_ends_what_is_not_wanted_and_finds_it_later_where_it_was(tmp_path: Path) -> None:
    mine, sources = pod(tmp_path)
    big = checkpoint(seed=7, layers=2, shards=2, width=400_000)
    first = big.item(source="mem://0")
    sources.each[0] = MemorySource(big.files, piece=100_000, hold=30)
    mine.desire(first)
    stager = mine.stager()
    journal = mine.target(first).with_name("stage-0-of-2.journal")
    await until(stager, lambda _: sources.each[0].steps >= 30 and journal.exists())
    mine.desire(item(1))
    await until_outcome(stager, item(1), "ready")
    assert sources.opened == [0, 1]
    assert sources.each[0].closed == 1
    assert not mine.target(first).exists()
    finished = journal.read_text().count("model.")
    assert finished > 0
    sources.each[0].go.set()
    before = sources.each[0].read_bytes
    mine.desire(first, item(1))
    staged = await until_outcome(stager, first, "ready")
    headers_and_config = 2 * (16 << 10) + 100
    assert sources.each[0].read_bytes - before < staged.bytes_total + headers_and_config - finished * 400_000


async def test_a_more_wanted_one_goes_first_at_once(tmp_path: Path) -> None:
    mine, sources = pod(tmp_path)
    sources.each[0].hold = 30
    mine.desire(item(0))
    stager = mine.stager()
    await until(stager, lambda _: sources.each[0].steps >= 30)
    sources.each[0].go.set()
    sources.each[0].hold = None
    mine.desire(item(1), item(0), serve=item(1))
    await until(stager, lambda seen: {staged.outcome for staged in seen.values()} == {"ready"} and len(seen) == 2)
    assert sources.opened == [0, 1, 0]


async def test_the_same_desired_state_again_costs_nothing(tmp_path: Path) -> None:
    mine, sources = pod(tmp_path)
    mine.desire(item(0))
    stager = mine.stager()
    await until_outcome(stager, item(0), "ready")
    written = (mine.root / "staging.json").stat()
    steps = sources.each[0].steps
    mine.desire(item(0))
    for _ in range(5):
        await stager.step()
    assert sources.each[0].steps == steps
    after = (mine.root / "staging.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (written.st_ino, written.st_mtime_ns), "written though nothing changed"


async def test_the_state_names_the_desired_state_that_it_answers(tmp_path: Path) -> None:
    """Even where nothing else in it changes: the operator counts nothing as staged by another answer."""
    mine, _ = pod(tmp_path)
    mine.configure(item(0))
    stager = mine.stager()
    await until_outcome(stager, item(0), "ready")
    assert stager.state is not None
    assert stager.state.desired == ""
    before = stager.state.weights
    desired = mine.desire(item(0))
    await stager.step()
    assert (stager.state.desired, stager.state.weights) == (desired.key, before)


async def test_the_state_reaches_its_file(tmp_path: Path) -> None:
    mine, _ = pod(tmp_path)
    mine.desire(item(0))
    stager = mine.stager()
    await until_outcome(stager, item(0), "ready")
    state = StagingState.model_validate_json((mine.root / "staging.json").read_bytes())
    assert state == stager.state
    assert state.weights[0].message == "47.1 kB verified"
    assert state.disk_free > 0


async def test_progress_has_numbers(tmp_path: Path) -> None:
    mine, sources = pod(tmp_path)
    sources.each[0].hold = 30
    mine.desire(item(0))
    digest = item(0).weights.digest
    shown = await until(mine.stager(), lambda seen: digest in seen and seen[digest].bytes_done > 0)
    staged = shown[digest]
    assert staged.outcome == "working"
    assert staged.message.startswith("downloading: ")
    assert "of 47.1 kB" in staged.message
    assert staged.bytes_total == 47_054


async def test_a_file_that_is_no_desired_state_leaves_the_last_one_standing(tmp_path: Path) -> None:
    mine, _ = pod(tmp_path)
    mine.desire(item(0))
    stager = mine.stager()
    await until_outcome(stager, item(0), "ready")
    (mine.root / "desired.json").write_text(json.dumps({"serve": 5}))
    await stager.step()
    assert stager.state is not None
    assert [staged.outcome for staged in stager.state.weights] == ["ready"]


async def test_without_anything_to_do_there_is_an_empty_state(tmp_path: Path) -> None:
    mine, _ = pod(tmp_path)
    stager = mine.stager()
    await stager.step()
    assert stager.state is not None
    assert stager.state.weights == ()


def test_checkpoints_of_two_seeds_differ() -> None:
    first, second = MODELS[0], replace(MODELS[1])
    assert isinstance(second, Checkpoint)
    assert first.manifest().digest != second.manifest().digest


async def test_what_was_verified_once_is_believed_when_it_comes_back(tmp_path: Path) -> None:
    mine, sources = pod(tmp_path)
    mine.desire(item(0))
    stager = mine.stager()
    await until_outcome(stager, item(0), "ready")
    mine.desire(item(1))
    await until_outcome(stager, item(1), "ready")
    mine.desire(item(0), item(1))
    staged = await until_outcome(stager, item(0), "ready")
    assert (staged.bytes_read, staged.bytes_total) == (0, 47_054)
    assert sources.opened == [0, 1]
