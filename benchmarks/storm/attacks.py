"""Hostile clients: ``python -m benchmarks.storm.attacks HOST:PORT SEED SCALE [KIND...]``, until killed.

Each kind has some workers, and on a loopback address of its own, in 127.0.1.0/24. A worker connects, sends, holds what
it has for a while, leaves and begins anew. SCALE multiplies the number of workers. With a key in the environment
(STORM_KEY) their requests are those of a client who may call.
"""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_CHAT: Final = b"/v1/chat/completions"
_MIB: Final = 1 << 20
_HEAD_BOMB: Final = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 8150) for number in range(125))
_LONG_HEAD: Final = b"".join(b"X-%d: %b\r\n" % (number, "é".encode() * 3000) for number in range(5))


def post(body: bytes, path: bytes = _CHAT, more: bytes = b"") -> bytes:
    """Return a request with this body; ``more``: header lines."""
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (path, more, len(body)) + body


def filled(begin: bytes, item: bytes, end: bytes, *, size: int = 4 * _MIB) -> bytes:
    """Return ``begin``, as many items as fit into ``size`` bytes, and ``end``."""
    return begin + b",".join([item] * ((size - len(begin) - len(end)) // (len(item) + 1))) + end


def _chunked(count: int) -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % _CHAT
    return head + b"2\r\n[]\r\n" * count + b"0\r\n\r\n"


@dataclass(frozen=True)
class Attack:
    """A kind: ``pieces`` are sent ``pause`` seconds apart; then nothing is read for ``hold`` seconds."""

    workers: int
    pieces: Callable[[], Iterator[bytes]]
    hold: float = 2.0
    pause: float = 0.0


def _once(raw: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter((raw,))


def _drip(raw: bytes, rest: bytes) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        yield raw
        for at in range(len(rest)):
            yield rest[at : at + 1]

    return pieces


_BAD_WORDS: Final = filled(b'{"user":"HANG","stream":true,"model":"m","bad_words":[', b"[]", b"]}")
_BAD_WORDS_IN_BOUNDS: Final = filled(b'{"user":"HANG","stream":true,"bad_words":[', b"[]", b"]}", size=90 << 10)
_MESSAGES: Final = filled(b'{"user":"HANG","stream":true,"model":"m","messages":[', b"[]", b"]}")
_STORE: Final = filled(b'{"user":"HANG","store":false,"input":[', b"[]", b"]}")
_DEEP: Final = b'{"user":"HANG","stream":true,"messages":' + b"[" * (2 * _MIB) + b"]" * (2 * _MIB) + b"}"
_ESCAPES: Final = b'{"user":"HANG","stream":true,"prompt":"' + b"\\n" * (2 * _MIB - 64) + b'"}'
_BATCH: Final = filled(b'{"user":"HANG","max_tokens":3,"messages":[[{}', b"],[{}", b"]]}")
_LARGEST: Final = b'{"user":"HANG","x":"' + b"x" * (16 * _MIB) + b'"}'
_SHORT: Final = filled(b'{"user":"HANG","stream":true,"messages":[', b"[]", b"]}", size=16_000)
_BEHIND: Final = post(b"a" * 30_000, b"/v1/completions") * 40

ATTACKS: Final[dict[str, Attack]] = {
    "bad words": Attack(4, _once(post(_BAD_WORDS))),
    "bad words in bounds": Attack(20, _once(post(_BAD_WORDS_IN_BOUNDS))),
    "many messages": Attack(3, _once(post(_MESSAGES))),
    "many short bombs": Attack(20, _once(post(_SHORT)), hold=1.0),
    "many stored": Attack(3, _once(post(_STORE, b"/v1/responses"))),
    "deep": Attack(3, _once(post(_DEEP))),
    "escapes": Attack(3, _once(post(_ESCAPES, b"/v1/completions"))),
    "batches": Attack(3, _once(post(_BATCH, b"/v1/chat/completions/batch"))),
    "small chunks": Attack(3, _once(_chunked(300_000))),
    "large bodies": Attack(4, _once(post(_LARGEST))),
    "header bombs": Attack(20, _once(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n" + _HEAD_BOMB + b"\r\n")),
    "half of a header bomb": Attack(20, _once(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n" + _HEAD_BOMB)),
    "long heads": Attack(100, _once(post(b'{"user":"HANG"}', more=_LONG_HEAD)), hold=4.0),
    "pipelining": Attack(40, _once(post(b'{"user":"HANG"}') + _BEHIND), hold=4.0),
    "slow heads": Attack(400, _drip(b"POST %b HTTP/1.1\r\nHost: a\r\nX-A: " % _CHAT, b"a" * 9), pause=1.0),
    "slow bodies": Attack(
        100, _drip(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n{" % _CHAT, b"a" * 9), pause=1.0
    ),
    "slow readers of streams": Attack(100, _once(post(b'{"user":"FLOOD","stream":true}')), hold=8.0),
    "slow readers of answers": Attack(60, _once(post(b'{"user":"LARGE"}')), hold=8.0),
    "connections": Attack(1500, _once(b""), hold=6.0),
    "tunnels": Attack(
        10, _once(b"CONNECT /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"a" * 200_000)
    ),
}


@dataclass(frozen=True)
class Target:
    """What is attacked, from which address of its own (None: any), and with which key."""

    host: str
    port: int
    source: str | None
    key: str = ""

    def raw(self, piece: bytes) -> bytes:
        """Return a piece of a request with the key behind its first host line."""
        line = f"Host: a\r\nAuthorization: Bearer {self.key}\r\n".encode()
        return piece.replace(b"Host: a\r\n", line, 1) if self.key else piece


async def attack(kind: str, target: Target, *, chance: random.Random, scale: float) -> None:
    """Let the workers of one kind run until cancelled."""
    one = ATTACKS[kind]
    workers = max(round(one.workers * scale), 1)
    await asyncio.gather(*[_worker(one, target, chance=chance) for _ in range(workers)])


async def _worker(one: Attack, target: Target, *, chance: random.Random) -> None:
    await asyncio.sleep(chance.random() * 2)
    while True:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(60):
                await _visit(one, target, chance=chance)
        await asyncio.sleep(0.1 + chance.random() * 0.4)


async def _visit(one: Attack, target: Target, *, chance: random.Random) -> None:
    # A small buffer: what is held is to be the gateway's.
    local = None if target.source is None else (target.source, 0)
    reader, writer = await asyncio.open_connection(target.host, target.port, local_addr=local, limit=1 << 10)
    try:
        for piece in one.pieces():
            writer.write(target.raw(piece))
            await writer.drain()
            if one.pause:
                await asyncio.sleep(one.pause)
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001
        await asyncio.sleep(one.hold * (0.5 + chance.random()))
    finally:
        writer.transport.abort()


async def main(address: str, *, seed: int, scale: float, kinds: list[str]) -> None:
    """Attack until killed."""
    chance = random.Random(seed)
    host, _, port = address.rpartition(":")

    def target(number: int) -> Target:
        source = f"127.0.1.{number + 1}" if host.startswith("127.") else None
        return Target(host, int(port), source, os.environ.get("STORM_KEY", ""))

    await asyncio.gather(
        *[attack(kind, target(number), chance=chance, scale=scale) for number, kind in enumerate(kinds)]
    )


if __name__ == "__main__":
    address, seed, scale, *kinds = sys.argv[1:]
    asyncio.run(main(address, seed=int(seed), scale=float(scale), kinds=kinds or list(ATTACKS)))
