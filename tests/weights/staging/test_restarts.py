"""The process ends at every change of the disk, as by SIGKILL: what is finished stays, nothing half is ever visible."""

from pathlib import Path

import pytest

from tests.fakes.staging import Killed, MemorySource, MortalDisk, Pod, checkpoint, read_safetensors, until_outcome

MODEL = checkpoint(layers=3, shards=2)
PIECE = 4000
IN_FLIGHT = 4 * 12_000  # of the streams: whole tensors, the largest has 12,000 bytes


async def changes_of_a_good_run(root: Path, *, full: bool) -> tuple[int, int]:
    """How many changes of the disk, and how many bytes of the source."""
    good = Pod(root, MemorySource(MODEL.files, piece=PIECE), disk=MortalDisk())
    good.configure(MODEL.item(full=full))
    await until_outcome(good.stager(), MODEL.item(full=full), "ready")
    assert isinstance(good.disk, MortalDisk)
    return good.disk.changes, good.source.read_bytes


@pytest.mark.parametrize("full", [True, False], ids=["full", "listing"])
async def test_killed_at_every_change_of_the_disk(tmp_path: Path, full: bool) -> None:
    item = MODEL.item(full=full)
    changes, good_bytes = await changes_of_a_good_run(tmp_path / "good", full=full)
    assert changes > 50
    kills = 0
    for die_at in range(1, changes + 1):
        source = MemorySource(MODEL.files, piece=PIECE)
        pod = Pod(tmp_path / str(die_at), source, disk=MortalDisk(die_at=die_at))
        pod.configure(item)
        stager = pod.stager()
        try:
            await until_outcome(stager, item, "ready")
            await stager.step()
        except Killed:
            kills += 1
        await stager.close()  # on a dead disk nothing comes of it, and no thread is left behind
        if pod.target(item).exists():
            assert read_safetensors(pod.target(item)).items() <= MODEL.tensors.items()
        pod.disk = MortalDisk()
        await until_outcome(pod.stager(), item, "ready", time_passes=pod.time)
        assert read_safetensors(pod.target(item)).items() <= MODEL.tensors.items()
        assert (pod.target(item) / "tokenizer.json").read_bytes() == MODEL.files["tokenizer.json"]
        beside = {path.name for path in pod.target(item).parent.iterdir()}
        assert beside <= {"stage-0-of-2", "used-by-pod-0"}, f"left behind by a kill at change {die_at}"
        if full:
            headers_twice = 2 * (16 << 10) + 1000
            assert source.read_bytes <= good_bytes + IN_FLIGHT + headers_twice
    assert kills >= changes - 2  # how often the house is kept depends on how long a run takes


async def test_only_what_was_not_finished_is_read_again(tmp_path: Path) -> None:
    item = MODEL.item()
    _, good_bytes = await changes_of_a_good_run(tmp_path / "good", full=True)
    for share in (0.5, 0.9):
        read = 0

        def before(_: int, data: bytes, share: float = share) -> bytes:
            nonlocal read
            read += len(data)
            if read > share * good_bytes:
                raise Killed
            return data

        pod = Pod(tmp_path / str(share), MemorySource(MODEL.files, piece=PIECE, before=before))
        pod.configure(item)
        with pytest.raises(Killed):
            await until_outcome(pod.stager(), item, "ready")
        pod.source.before = lambda _, data: data
        pod.source.read_bytes = 0
        await until_outcome(pod.stager(), item, "ready")
        headers_and_small = 2 * (16 << 10) + 6_000
        assert pod.source.read_bytes <= (1 - share) * good_bytes + IN_FLIGHT + headers_and_small


async def test_what_lies_there_is_hashed_again_and_not_believed(tmp_path: Path) -> None:
    """A tensor that the journal calls finished, and that the disk lost, is brought again."""
    item = MODEL.item()
    pod = Pod(tmp_path, MemorySource(MODEL.files, piece=PIECE), disk=MortalDisk(die_at=45))
    pod.configure(item)
    with pytest.raises(Killed):
        await until_outcome(pod.stager(), item, "ready")
    part = pod.target(item).with_name("stage-0-of-2.part")
    journal = pod.target(item).with_name("stage-0-of-2.journal")
    assert "embed_tokens" in journal.read_text()
    file = part / "model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-9000] + bytes(9000))
    pod.disk = MortalDisk()
    await until_outcome(pod.stager(), item, "ready")
    assert read_safetensors(pod.target(item)).items() <= MODEL.tensors.items()


@pytest.mark.parametrize("full", [True, False], ids=["full", "listing"])
async def test_published_weights_are_verified_after_a_restart_without_the_source(tmp_path: Path, full: bool) -> None:
    item = MODEL.item(full=full)
    pod = Pod(tmp_path, MemorySource(MODEL.files))
    pod.configure(item)
    await until_outcome(pod.stager(), item, "ready")
    pod.source.files = {}
    steps = pod.source.steps
    staged = await until_outcome(pod.stager(), item, "ready")
    assert pod.source.steps == steps
    assert staged.bytes_read >= staged.bytes_total


@pytest.mark.parametrize("full", [True, False], ids=["full", "listing"])
@pytest.mark.parametrize(
    "name", ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "staged.json"]
)
async def test_published_weights_that_the_disk_damaged_are_brought_again(tmp_path: Path, name: str, full: bool) -> None:
    item = MODEL.item(full=full)
    pod = Pod(tmp_path, MemorySource(MODEL.files))
    pod.configure(item)
    await until_outcome(pod.stager(), item, "ready")
    file = pod.target(item) / name
    good = file.read_bytes()
    file.write_bytes(good[:-100] + bytes(100))
    await until_outcome(pod.stager(), item, "ready")
    assert file.read_bytes() == good
