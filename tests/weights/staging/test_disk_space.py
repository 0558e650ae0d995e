"""A volume that is too small, one that fills up, and old weights that make room."""

from dataclasses import replace
from pathlib import Path

from llama_serving.config.desired import WeightsArtifact
from llama_serving.weights.staging.io.disk import LocalDisk
from tests.fakes.staging import Checkpoint, MemorySource, MortalDisk, Pod, Volume, checkpoint, until_outcome

MODELS = [checkpoint(seed=seed, layers=4, shards=2, width=30_000) for seed in range(5)]
TWO_FIT = 1_250_000  # bytes of a volume: stage 0 needs 425,054 of each


def item(number: int) -> WeightsArtifact:
    return MODELS[number].item(source=f"mem://{number}")


def pod(root: Path, *, total: int, volume: Path | None = None, holder: str = "pod-0") -> Pod:
    """One with all models to choose from, on a volume of ``total`` bytes."""
    mine = Pod(root, MemorySource({}), volume=volume, holder=holder)
    mine.disk = MortalDisk(volume=Volume(mine.mount, total))

    mine.open_source = Models(mine)
    return mine


class Models:
    """Opens any of them; counts how often."""

    def __init__(self, pod: Pod) -> None:
        self.count = 0
        self._pod = pod

    def __call__(self, uri: str, *, revision: str, credentials: Path | None) -> MemorySource:
        del revision, credentials
        self.count += 1
        model: Checkpoint = MODELS[int(uri.removeprefix("mem://"))]
        return replace(self._pod.source, files=model.files)


def opened(pod: Pod) -> int:
    assert isinstance(pod.open_source, Models)
    return pod.open_source.count


def folders(mine: Pod) -> set[int]:
    """Which models lie on the volume."""
    there = {path.name for path in mine.mount.iterdir()}
    return {number for number in range(len(MODELS)) if mine.target(item(number)).parent.name in there}


async def test_too_small_a_volume_is_refused_before_anything_is_written_and_heals(tmp_path: Path) -> None:
    small = pod(tmp_path, total=300_000)
    small.configure(item(0))
    stager = small.stager()
    staged = await until_outcome(stager, item(0), "refused")
    assert staged.reason == "DiskFull"
    assert staged.message.startswith("needs 425 kB, ")
    assert "of 300 kB free on /weights" in staged.message
    assert not list(small.mount.rglob("*.safetensors"))
    assert isinstance(small.disk, MortalDisk)
    for _ in range(5):
        small.time.now += 6
        await stager.step()
    assert opened(small) == 1, "room is looked for without asking the source again"
    small.disk.volume = Volume(small.mount, 1_000_000)
    # The look before may still be under way, with the volume as it was: then the next one sees it.
    await until_outcome(stager, item(0), "ready", time_passes=small.time)


async def test_a_volume_that_others_fill_meanwhile_stops_the_download_above_the_reserve(tmp_path: Path) -> None:
    model = checkpoint(layers=8, shards=12, width=30_000)  # more requests than streams: later ones find it full
    mine = Pod(tmp_path, MemorySource(model.files))
    mine.disk = MortalDisk(volume=Volume(mine.mount, 1_500_000))
    others, part = mine.mount / "others", mine.target(model.item()).with_name("stage-0-of-2.part")

    def before(_: int, data: bytes) -> bytes:
        if part.exists() and not others.exists():
            others.write_bytes(bytes(1_300_000))
        return data

    mine.source.before = before
    mine.configure(model.item())
    stager = mine.stager()
    staged = await until_outcome(stager, model.item(), "refused")
    assert staged.reason == "DiskFull"
    assert staged.bytes_done < staged.bytes_total
    mine.source.before = lambda _, data: data
    others.unlink()
    await until_outcome(stager, model.item(), "ready", time_passes=mine.time)


async def test_current_next_and_previous_stay_and_older_ones_go(tmp_path: Path) -> None:
    mine = pod(tmp_path, total=10**8)
    stager = mine.stager()
    mine.desire(item(0))
    await until_outcome(stager, item(0), "ready")
    for number, there in ((1, {0, 1}), (2, {0, 1, 2}), (3, {1, 2, 3}), (4, {2, 3, 4})):
        mine.desire(item(number), item(number - 1))
        await until_outcome(stager, item(number), "ready")
        await stager.step()
        assert folders(mine) == there


async def test_old_weights_go_when_room_is_needed_and_named_ones_never(tmp_path: Path) -> None:
    mine = pod(tmp_path, total=TWO_FIT)
    stager = mine.stager()
    mine.desire(item(0))
    await until_outcome(stager, item(0), "ready")
    mine.desire(item(1), item(0))
    await until_outcome(stager, item(1), "ready")
    mine.desire(item(2), item(1), item(0))
    staged = await until_outcome(stager, item(2), "refused", time_passes=mine.time)
    assert staged.reason == "DiskFull"
    assert folders(mine) >= {0, 1}
    mine.desire(item(2), item(1))
    await until_outcome(stager, item(2), "ready", time_passes=mine.time)
    assert folders(mine) == {1, 2}


async def test_what_another_pod_uses_stays(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    first = pod(tmp_path / "a", total=TWO_FIT, volume=shared, holder="pod-a")
    second = pod(tmp_path / "b", total=TWO_FIT, volume=shared, holder="pod-b")
    first.desire(item(0))
    await until_outcome(first.stager(), item(0), "ready")
    stager = second.stager()
    second.desire(item(1))
    await until_outcome(stager, item(1), "ready")
    second.desire(item(2), item(1))
    staged = await until_outcome(stager, item(2), "refused")
    assert staged.reason == "DiskFull"
    assert folders(first) >= {0, 1}


async def test_a_limit_that_the_volume_itself_does_not_know_is_kept(tmp_path: Path) -> None:
    """An emptyDir with a sizeLimit: the kubelet ends the pod when it is passed."""
    mine = pod(tmp_path, total=0)
    mine.disk = LocalDisk(limit=800_000)
    mine.desire(item(0))
    stager = mine.stager()
    await until_outcome(stager, item(0), "ready")
    mine.desire(item(1), item(0))
    staged = await until_outcome(stager, item(1), "refused")
    assert staged.reason == "DiskFull"
    assert "of 800 kB free on /weights" in staged.message


async def test_a_removal_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    mine = pod(tmp_path, total=10**8)
    left = mine.mount / "0123456789abcdef.gone-pod-7"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"x")
    mine.desire(item(0))
    await until_outcome(mine.stager(), item(0), "ready")
    assert not left.exists()
