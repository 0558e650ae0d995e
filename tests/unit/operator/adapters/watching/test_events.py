"""The lines of a watch: events, or a reason to list again."""

import asyncio
import json

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.adapters.watching.events import BrokenWatch, event_of, lines
from tests.fakes.api.faults import FAULTS

POD = {"kind": "Pod", "metadata": {"name": "p", "uid": "u", "resourceVersion": "7"}}


async def stream_of(*chunks: bytes, ends: bool = True) -> aiohttp.StreamReader:
    class Protocol(aiohttp.base_protocol.BaseProtocol):
        connected = True

    loop = asyncio.get_running_loop()
    reader = aiohttp.StreamReader(Protocol(loop), 1 << 16, loop=loop)
    for chunk in chunks:
        reader.feed_data(chunk)
    if ends:
        reader.feed_eof()
    return reader


async def read(*chunks: bytes, limit: int = 1 << 20) -> list[bytes]:
    return [line async for line in lines(await stream_of(*chunks), limit=limit)]


@given(st.lists(st.binary(min_size=1, max_size=30).map(lambda data: data.replace(b"\n", b"x")), max_size=10), st.data())
def test_lines_are_the_same_however_they_are_cut(sent: list[bytes], data: st.DataObject) -> None:
    whole = b"\n".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    chunks = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    found = asyncio.run(read(*[chunk for chunk in chunks if chunk]))
    assert found == [line for line in sent if line.strip()]


async def test_a_line_without_an_end_is_given_up() -> None:
    with pytest.raises(BrokenWatch, match="more than 1000 bytes, which is the limit"):
        await read(*[b"x" * 100] * 11, limit=1000)


async def test_a_silent_watch_is_given_up() -> None:
    stream = await stream_of(ends=False)
    with pytest.raises(BrokenWatch, match="silent"):
        [line async for line in lines(stream, silence=0.01)]


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED"])
def test_an_event_is_what_was_sent(kind: str) -> None:
    event = {"type": kind, "object": POD}
    assert event_of(json.dumps(event).encode()) == event


def test_a_bookmark_needs_no_object() -> None:
    assert event_of(b'{"type":"BOOKMARK"}') == {"type": "BOOKMARK"}


BROKEN = [name for name, fault in FAULTS.items() if fault.stream]


@pytest.mark.parametrize("name", BROKEN)
def test_every_fault_in_a_stream_is_a_broken_watch(name: str) -> None:
    for line in (line for part in FAULTS[name].stream or () for line in part.splitlines()):
        with pytest.raises(BrokenWatch) as caught:
            event_of(line)
        assert str(caught.value)


@given(st.binary(max_size=200))
def test_whatever_a_line_is_it_is_an_event_or_a_broken_watch(line: bytes) -> None:
    try:
        event_of(line)
    except BrokenWatch as error:
        assert str(error)  # noqa: PT017


def test_a_deep_line_is_no_recursion() -> None:
    with pytest.raises(BrokenWatch):
        event_of(b"[" * 200_000)
