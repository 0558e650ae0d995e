"""A folder of a claim as a source: what is opened is closed."""

import asyncio
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from llama_serving.weights.source import local
from llama_serving.weights.source.local import LocalSource

_DEADLINE_S = 10.0


class SlowDisk:
    """``open_regular`` of a disk that waits until ``may_open`` is set."""

    def __init__(self) -> None:
        self.asked, self.may_open, self.answered = threading.Event(), threading.Event(), threading.Event()
        self.files: list[BinaryIO] = []

    def open(self, path: Path, **_: object) -> BinaryIO:
        self.asked.set()
        assert self.may_open.wait(_DEADLINE_S)
        self.files.append(path.open("rb"))
        self.answered.set()
        return self.files[-1]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    disk = SlowDisk()
    monkeypatch.setattr(local, "open_regular", disk.open)
    return disk


async def cancelled(reading: asyncio.Task[bytes]) -> None:
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


def reader(folder: Path) -> asyncio.Task[bytes]:
    (folder / "a").write_bytes(b"abc")

    async def read() -> bytes:
        return b"".join([piece async for piece in LocalSource(folder, revision="1").read("a")])

    return asyncio.create_task(read())


async def test_a_file_is_closed_that_was_opened_after_its_reader_was_cancelled(tmp_path: Path, disk: SlowDisk) -> None:
    reading = reader(tmp_path)
    assert await asyncio.to_thread(disk.asked.wait, _DEADLINE_S)
    await cancelled(reading)
    assert disk.files == []
    disk.may_open.set()
    for _ in range(1000):
        if disk.files and disk.files[0].closed:
            break
        await asyncio.sleep(_DEADLINE_S / 1000)
    assert disk.files[0].closed


async def test_a_file_is_closed_that_was_opened_before_its_reader_was_cancelled(tmp_path: Path, disk: SlowDisk) -> None:
    reading = reader(tmp_path)
    assert await asyncio.to_thread(disk.asked.wait, _DEADLINE_S)
    disk.may_open.set()
    assert disk.answered.wait(_DEADLINE_S)  # the loop stands still: the reader has not heard of it
    await cancelled(reading)
    assert disk.files[0].closed


async def test_a_file_is_closed_that_was_read(tmp_path: Path, disk: SlowDisk) -> None:
    disk.may_open.set()
    assert await reader(tmp_path) == b"abc"
    assert disk.files[0].closed
