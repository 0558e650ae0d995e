"""A claim that outlives its pod: the stager of the next pod finds the weights, verifies them, and fetches nothing."""

from pathlib import Path

from tests.fakes.staging import MemorySource, Pod, checkpoint, read_safetensors, until_outcome

MODEL = checkpoint(layers=3, shards=2)


async def test_the_next_pod_reads_what_lies_there_and_nothing_from_the_source(tmp_path: Path) -> None:
    item, volume = MODEL.item(), tmp_path / "claim"
    first = Pod(tmp_path / "first", MemorySource(MODEL.files), volume=volume, holder="chat-old-0-0")
    first.configure(item)
    await until_outcome(first.stager(), item, "ready")
    assert first.source.read_bytes > 0

    second = Pod(tmp_path / "second", MemorySource({}), volume=volume, holder="chat-new-0-0")
    second.configure(item)
    await until_outcome(second.stager(), item, "ready")
    assert second.source.read_bytes == 0, "a source without a file: nothing can have come from it"
    assert read_safetensors(second.target(item)).items() <= MODEL.tensors.items()


async def test_what_the_disk_changed_meanwhile_is_brought_again(tmp_path: Path) -> None:
    item, volume = MODEL.item(), tmp_path / "claim"
    first = Pod(tmp_path / "first", MemorySource(MODEL.files), volume=volume, holder="chat-old-0-0")
    first.configure(item)
    await until_outcome(first.stager(), item, "ready")
    file = max(first.target(item).glob("*.safetensors"), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)

    second = Pod(tmp_path / "second", MemorySource(MODEL.files), volume=volume, holder="chat-new-0-0")
    second.configure(item)
    await until_outcome(second.stager(), item, "ready", time_passes=second.time)
    assert second.source.read_bytes > 0
    assert read_safetensors(second.target(item)).items() <= MODEL.tensors.items()
