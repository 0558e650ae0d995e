"""The pure parts of the sources: addresses, sums, what an answer means, how long to wait."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.config.source import Address, fill, parse
from llama_serving.weights.source.http_errors import Remedies, failure, retry_after
from llama_serving.weights.source.interface import Broken, Busy, Denied, Gone, ListedFile, SourceError
from llama_serving.weights.source.retry import RetryPolicy, read_with_retries, with_retries
from llama_serving.weights.source.sums import parse_sums

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FIX = Remedies(denied="name a Secret", gone="check the address")


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("s3://bucket/a/b", Address("s3", "bucket", "a/b")),
        ("HTTPS://host:8443/a/", Address("https", "host:8443", "a")),
        ("pvc://claim", Address("pvc", "claim", "")),
        ("hf://team/tiny", Address("hf", "team", "tiny")),
        ("oci://127.0.0.1:5000/team/tiny", Address("oci", "127.0.0.1:5000", "team/tiny")),
    ],
)
def test_parts_of_an_address(uri: str, address: Address) -> None:
    assert parse(uri) == address
    assert parse(address.uri) == address


@pytest.mark.parametrize("uri", ["", "s3:/bucket", "://x", "s3:///a", "bucket/a", "s3://b/../c", "s3://b/a/."])
def test_addresses_that_are_none(uri: str) -> None:
    with pytest.raises(ValueError, match=r"is no source|climbs"):
        parse(uri)


def test_the_revision_is_filled_in() -> None:
    assert fill("s3://b/{revision}/x", "v1") == "s3://b/v1/x"
    assert fill("hf://team/tiny", "main") == "hf://team/tiny"
    with pytest.raises(ValueError, match="name the revision"):
        fill("s3://b/{revision}", "")


def test_sums_as_sha256sum_writes_them() -> None:
    digest = "ab" * 32
    text = f"{digest}  a.json\n{digest.upper()} *b.bin\n{digest}  ./c d.txt\n{digest}  sub/e\nnonsense\n\n"
    assert parse_sums(text) == {"a.json": digest, "b.bin": digest, "c d.txt": digest}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("999999", 3600.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        (None, None),
    ],
)
def test_both_forms_of_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=NOW) == seconds


@settings(deadline=None)
@given(st.text(max_size=50))
def test_no_retry_after_is_an_error_or_longer_than_an_hour(text: str) -> None:
    seconds = retry_after(text, now=NOW)
    assert seconds is None or 0 <= seconds <= 3600


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, Denied, "name a Secret"),
        (403, Denied, "name a Secret"),
        (404, Gone, "check the address"),
        (410, Gone, "check the address"),
        (400, Gone, "check the address"),
        (408, Broken, "408"),
        (429, Busy, "asked to wait 9 s"),
        (503, Busy, "asked to wait 9 s"),
        (500, Broken, "500"),
        (502, Broken, "502"),
    ],
)
def test_what_an_answer_means(status: int, kind: type[SourceError], words: str) -> None:
    error = failure(status, {"Retry-After": "9"}, asked="GET x", said="some\n text", fix=FIX, now=NOW)
    assert type(error) is kind
    assert str(error).startswith(f"GET x was answered {status} (some text)")
    assert words in str(error)
    if isinstance(error, Busy):
        assert error.after == 9.0


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def patience(self, deadline: float, chance: float = 0.0) -> RetryPolicy:
        return RetryPolicy(deadline=deadline, clock=lambda: self.now, sleep=self.sleep, jitter=lambda: chance)


class Scripted:
    """A source whose reads follow a script: how many bytes come, and how it then ends."""

    ranged = True

    def __init__(self, content: bytes, script: list[tuple[int, SourceError]]) -> None:
        self.content = content
        self.script = script
        self.begins: list[int] = []

    async def resolve(self) -> str:
        return "v1"

    async def list(self) -> tuple[ListedFile, ...]:
        return ()

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        del path
        self.begins.append(begin)
        wanted = self.content[begin:end]
        count, error = self.script.pop(0) if self.script else (len(wanted), None)
        for position in range(0, min(count, len(wanted)), 3):
            yield wanted[position : min(position + 3, count)]
        if error:
            raise error

    async def close(self) -> None:
        pass


async def test_pauses_grow_to_a_minute_and_a_retry_after_counts() -> None:
    clock = Clock()
    broken, busy = (0, Broken("x")), (0, Busy("x", after=7.0))
    script: list[tuple[int, SourceError]] = [broken, broken, busy, *[broken] * 6]
    source = Scripted(b"abc", script)
    pieces = [piece async for piece in read_with_retries(source, "f", retry=clock.patience(1000))]
    assert b"".join(pieces) == b"abc"
    assert clock.slept == [1, 2, 7, 8, 16, 32, 60, 60, 60]


async def test_chance_adds_at_most_a_quarter() -> None:
    clock = Clock()
    with pytest.raises(Broken):
        await with_retries(_always(Broken("x")), clock.patience(3, chance=0.999))
    assert clock.slept == [pytest.approx(1.25, rel=1e-3)]


async def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    clock = Clock()
    with pytest.raises(Busy):
        await with_retries(_always(Busy("x", after=100.0)), clock.patience(99))
    assert clock.slept == []


async def test_progress_moves_the_deadline() -> None:
    """Each cut comes after some bytes: as long as bytes come, nobody gives up."""
    clock = Clock()
    source = Scripted(bytes(range(90)), [(3, Broken("x"))] * 20)
    pieces = [piece async for piece in read_with_retries(source, "f", retry=clock.patience(1.5))]
    assert b"".join(pieces) == bytes(range(90))
    assert clock.slept == [1.0] * 20


@pytest.mark.parametrize("error", [Denied("x"), Gone("x")])
async def test_what_does_not_heal_is_raised_at_once(error: SourceError) -> None:
    clock = Clock()
    with pytest.raises(type(error)):
        await with_retries(_always(error), clock.patience(1000))
    assert clock.slept == []


@settings(deadline=None)
@given(
    content=st.binary(max_size=60),
    cuts=st.lists(st.integers(0, 20), max_size=8),
    one=st.integers(0, 60),
    other=st.integers(0, 60),
)
async def test_every_byte_once(content: bytes, *, cuts: list[int], one: int, other: int) -> None:
    begin, end = min(one, other), max(one, other)
    source = Scripted(content, [(cut, Broken("x")) for cut in cuts])
    pieces = read_with_retries(source, "f", begin=begin, end=end, retry=Clock().patience(1e9))
    assert b"".join([piece async for piece in pieces]) == content[begin:end]


def _always(error: SourceError) -> Callable[[], Awaitable[None]]:
    """Return a coroutine function that never returns."""

    async def call() -> None:
        raise error

    return call
