"""The ledger on disk: what a process that is killed has lost, and what the next one goes on with."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from llama_serving.config.access.ledger import MOST_BYTES, PERIOD
from llama_serving.gateway.access import ledger_file
from llama_serving.gateway.access.ledger_file import LedgerFile
from llama_serving.gateway.access.pure.books import Period
from llama_serving.gateway.access.pure.usage import Usage
from tests.component.gateway.access.world import ASKED, key, keys
from tests.component.gateway.running import CHAT, until
from tests.component.gateway.scripted import Upstream, answer, upstreams

MOST_LOST = 1.0  # seconds


@contextmanager
def ledger(folder: Path | None) -> Iterator[LedgerFile]:
    """The ledger of one process, which is killed at the end."""
    made = LedgerFile(folder, gateway="g-0", wall=lambda: 1000.0)
    made.open()
    yield made
    made.close()


async def book(file: LedgerFile, *names: str) -> None:
    period = Period()
    for name in names:
        period.add(name, "llama", Usage(10, 0, 5))
    await file.write(period)


def booked(file: LedgerFile) -> list[tuple[int, str]]:
    return [(row["seq"], row["key"]) for row in map(json.loads, file.kept.after(0, most=100_000))]


def sizes_in(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.iterdir()]


async def test_another_process_goes_on_where_one_was_killed(tmp_path: Path) -> None:
    with ledger(tmp_path) as file:
        await book(file, "a", "b")
    with ledger(tmp_path) as file:
        assert booked(file) == [(1, "a"), (2, "b")]
        await book(file, "c")
    with ledger(tmp_path) as file:
        assert booked(file) == [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.parametrize("cut", [1, 10, 60])
async def test_a_torn_row_is_cut_off_and_its_number_given_again(tmp_path: Path, cut: int) -> None:
    with ledger(tmp_path) as file:
        await book(file, "a", "b")
    path = tmp_path / "ledger-0.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with ledger(tmp_path) as file:
        assert booked(file) == [(1, "a")]
        await book(file, "c")
    with ledger(tmp_path) as file:
        assert booked(file) == [(1, "a"), (2, "c")]


async def test_memory_and_disk_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_file, "MOST_BYTES", 2000)
    with ledger(tmp_path) as file:
        for number in range(200):
            await book(file, f"key {number}")
    sizes = sizes_in(tmp_path)
    assert len(sizes) == 2
    assert sum(sizes) < 3 * 2000
    with ledger(tmp_path) as file:
        assert file.kept.last == 200
        assert 2000 / 250 < len(booked(file)) < 4500 / 150
        assert [seq for seq, _ in booked(file)] == list(range(file.kept.first, 201))
    assert MOST_BYTES == 8 << 20


async def test_without_a_folder_rows_are_in_memory_and_counted_as_on_no_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file"):
        with ledger(folder) as file:
            await book(file, "a")
            assert booked(file) == [(1, "a")]
            assert file.lost == 1


async def test_what_ended_last_is_written_at_the_end(tmp_path: Path) -> None:
    period = Period()
    with ledger(tmp_path) as file:
        task = asyncio.create_task(file.run(period))
        await asyncio.sleep(0)
        period.add("a", "llama", Usage(10, 0, 5))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with ledger(tmp_path) as file:
        assert booked(file) == [(1, "a")]


@dataclass
class Child:
    process: asyncio.subprocess.Process
    port: int
    admin_port: int


@asynccontextmanager
async def gateway_process(upstream: Upstream, folder: Path) -> AsyncIterator[Child]:
    rules = folder / "rules.json"
    rules.write_text(json.dumps(keys(key("a")).to_file()))
    (folder / "ledger").mkdir(exist_ok=True)
    arguments = ["--static", f"a=http://127.0.0.1:{upstream.port}", "--access", str(rules)]
    arguments += ["--ledger", str(folder / "ledger"), "--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llama_serving.gateway", *arguments, stderr=asyncio.subprocess.PIPE
    )
    assert child.stderr is not None
    line = b""
    try:
        async with asyncio.timeout(20):
            while b"gateway started" not in line:
                line = await child.stderr.readline()
                assert line, "the gateway ended"
        told = json.loads(line)
        drain = asyncio.create_task(child.stderr.read())
        yield Child(child, told["port"], told["admin_port"])
        drain.cancel()
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def read_rows(session: aiohttp.ClientSession, child: Child) -> list[dict[str, Any]]:
    async with session.get(f"http://127.0.0.1:{child.admin_port}/ledger?limit=10000") as response:
        return [json.loads(line) for line in (await response.read()).splitlines()]


async def test_a_process_that_is_killed_has_lost_a_second_at_most(tmp_path: Path) -> None:
    """Requests go on until the kill; all that ended a second before it are in the ledger of the next process."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    upstream = Upstream(then=answer(200, json.dumps({"usage": usage}).encode()))
    ended: list[float] = []
    async with upstreams(upstream), aiohttp.ClientSession() as session:
        async with gateway_process(upstream, tmp_path) as child:

            async def ask_on() -> None:
                url = f"http://127.0.0.1:{child.port}{CHAT}"
                headers = {"authorization": "Bearer sk-a"}
                while True:
                    async with session.post(url, json=ASKED, headers=headers) as response:
                        assert response.status == 200
                        await response.read()
                    ended.append(time.monotonic())

            task = asyncio.create_task(ask_on())
            await until(lambda: len(ended) > 20 and ended[-1] - ended[0] > 4 * PERIOD, seconds=30)
            killed = time.monotonic()
            os.kill(child.process.pid, signal.SIGKILL)
            await child.process.wait()
            with pytest.raises((aiohttp.ClientError, OSError)):
                await task
        async with gateway_process(upstream, tmp_path) as child:
            rows = await read_rows(session, child)
    requests = sum(row["requests"] for row in rows)
    assert requests >= sum(at < killed - MOST_LOST for at in ended) > 0
    assert requests <= len(ended) + 1
    assert sum(row["prompt_tokens"] for row in rows) == 3 * requests
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["gateway"] for row in rows} == {socket.gethostname()}
