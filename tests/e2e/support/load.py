"""Load on a gateway: clients that ask, read to the end, and note what they saw.

``Load`` is closed (each client asks again when it has its answer, or a while later) and streams; ``OpenLoad`` is open
(requests come at random times, however long answers take), mixes streams with plain answers and kept connections with
fresh ones, and compares every text with the greedy answers that were taken before anything was disturbed.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from llama_serving.config import names

TIMEOUT = aiohttp.ClientTimeout(total=300)
HELD = f": {names.HEADER_GROUP}=".encode()
"""How the comment begins that says who answers a stream that was held: its head could not say it."""
PROMPTS = tuple(f"Beautiful is better than {word}" for word in ("ugly", "dense", "nested", "silent", "dutch", "never"))


@dataclass(frozen=True)
class Answer:
    """One request. ``group`` is empty when no response came."""

    start: float
    end: float
    status: int
    group: str
    whole: bool  # a stream ended with [DONE] and without an error; a plain answer is complete
    said: str = ""  # the error
    weights: str = ""  # as the header names them
    prompt: str = ""
    text: str = ""
    ids: frozenset[str] = frozenset()  # of all chunks of a stream
    first_byte: float | None = None  # seconds to the first piece of the body
    finish: str = ""  # the engine's reason for the end

    @property
    def failed(self) -> bool:
        """No usable answer began: nothing excuses that."""
        return self.status != 200

    @property
    def broken(self) -> bool:
        """The answer began and did not end."""
        return self.status == 200 and not self.whole


async def ask(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any]) -> Answer:
    """Ask for a completion or, with messages, for a chat's answer. Never raises for what a server can do."""
    seen = _Seen()
    start = time.monotonic()
    try:
        async with session.post(f"{url}{route(body)}", json=body) as response:
            seen.status = response.status
            seen.group = response.headers.get(names.HEADER_GROUP, "")
            seen.weights = response.headers.get(names.HEADER_WEIGHTS, "")
            if body.get("stream"):
                await seen.stream(response.content, start)
            else:
                seen.plain(await response.read(), start)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        seen.error = repr(error)[:300]
    return Answer(
        start, time.monotonic(), seen.status, seen.group, seen.done and not seen.error, seen.error, seen.weights,
        asked_of(body), seen.text, frozenset(seen.ids), seen.first_byte, seen.finish,
    )  # fmt: skip


def route(body: Mapping[str, Any]) -> str:
    """Where a request goes."""
    return "/v1/chat/completions" if "messages" in body else "/v1/completions"


def asked_of(body: Mapping[str, Any]) -> str:
    """The prompt, or the last message."""
    return str(body["messages"][-1]["content"] if "messages" in body else body["prompt"])


def said_by(choice: Mapping[str, Any]) -> str:
    """Text of a choice, or of a piece of one; of a tool call its name and its arguments."""
    part = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
    calls = [call["function"] for call in part.get("tool_calls") or ()]
    return (part.get("content") or "") + "".join(
        (one.get("name") or "") + (one.get("arguments") or "") for one in calls
    )


@dataclass
class _Seen:
    """What came so far of one answer."""

    status: int = 0
    group: str = ""
    weights: str = ""
    text: str = ""
    error: str = ""
    done: bool = False
    first_byte: float | None = None
    finish: str = ""
    ids: set[str] = field(default_factory=set)

    async def stream(self, lines: AsyncIterable[bytes], start: float) -> None:
        async for line in lines:
            self.first_byte = self.first_byte or time.monotonic() - start
            data = line.removeprefix(b"data: ").strip()
            if data == b"[DONE]":
                self.done = True
            elif data.startswith(HELD):
                said = dict(word.partition("=")[::2] for word in data.decode().split()[1:])
                self.group, self.weights = said[names.HEADER_GROUP], said[names.HEADER_WEIGHTS]
            elif data.startswith(b"{"):
                self._chunk(json.loads(data), data)

    def plain(self, data: bytes, start: float) -> None:
        self.first_byte = time.monotonic() - start
        self._chunk(json.loads(data), data)
        self.done = True

    def _chunk(self, chunk: dict[str, Any], data: bytes) -> None:
        if "error" in chunk:
            self.error = data.decode()[:300]
            return
        self.ids.add(chunk["id"])
        self.text += "".join(map(said_by, chunk["choices"]))
        self.finish = next((one["finish_reason"] for one in chunk["choices"] if one["finish_reason"]), self.finish)


class Clients:
    """Answers, and what is common to both kinds of load."""

    answers: list[Answer]

    async def finished(self, count: int, *, within: float) -> None:
        """Wait until ``count`` more answers are whole. Raises AssertionError with what was seen."""
        seen, whole, end = len(self.answers), 0, time.monotonic() + within
        while True:
            fresh = self.answers[seen:]
            seen, whole = seen + len(fresh), whole + sum(answer.whole for answer in fresh)
            if whole >= count:
                return
            assert time.monotonic() < end, f"no {count} answers within {within} s; {self.summary()}"
            await asyncio.sleep(0.05)

    def summary(self) -> str:
        """Counts, and the last things that went wrong."""
        counts = Counter("whole" if a.whole else "broken" if a.broken else f"failed {a.status}" for a in self.answers)
        bad = [answer for answer in self.answers if not answer.whole][-3:]
        return f"{dict(counts)}, by group {dict(Counter(a.group for a in self.answers))}, last bad: {bad}"


class ClosedLoad(Clients):
    """Clients of which each asks again when it has its answer, until the end of the block."""

    clients: int

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=self._connector(), timeout=TIMEOUT)
        self._stop = False
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self.clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)
        await self._session.close()

    def _connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=0)

    async def _client(self, number: int) -> None:
        """Ask until ``_stop``."""
        raise NotImplementedError


@dataclass
class Load(ClosedLoad):
    """``async with Load(url, model, clients=4) as load``; ``answers`` grows while it runs.

    ``pause``: seconds between an answer and the client's next request.
    """

    url: str
    model: str
    clients: int = 4
    tokens: int = 24
    pause: float = 0.0
    answers: list[Answer] = field(default_factory=list)

    def _connector(self) -> aiohttp.TCPConnector:
        # A connection per request: new ones must find a living gateway through the Service.
        return aiohttp.TCPConnector(limit=0, force_close=True)

    async def _client(self, number: int) -> None:
        body = request(self.model, f"Beautiful is better than {number}", tokens=self.tokens, stream=True)
        while not self._stop:
            self.answers.append(await ask(self._session, self.url, body))
            await asyncio.sleep(self.pause)


@dataclass
class OpenLoad(Clients):
    """Requests at random times, ``rate`` per second on average; the same ``seed``, the same sequence.

    ``key``: of a client of a deployment that asks for keys.
    """

    url: str
    model: str
    rate: float = 4.0
    tokens: int = 24
    seed: int = 1
    key: str = ""
    answers: list[Answer] = field(default_factory=list)

    async def __aenter__(self) -> "OpenLoad":
        fresh, kept = aiohttp.TCPConnector(limit=0, force_close=True), aiohttp.TCPConnector(limit=0)
        self._sessions = tuple(
            aiohttp.ClientSession(connector=one, timeout=TIMEOUT, headers=with_key(self.key)) for one in (fresh, kept)
        )
        self._running: set[asyncio.Task[None]] = set()
        self._arrivals = asyncio.create_task(self._arrive())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._arrivals.cancel()
        await asyncio.gather(*self._running, self._arrivals, return_exceptions=True)
        for session in self._sessions:
            await session.close()

    async def _arrive(self) -> None:
        chance, due = random.Random(self.seed), time.monotonic()
        while True:
            due += chance.expovariate(self.rate)  # after the time before, however late that one went out
            await asyncio.sleep(max(due - time.monotonic(), 0))
            body = request(self.model, chance.choice(PROMPTS), tokens=self.tokens, stream=chance.random() < 0.6)
            task = asyncio.create_task(self._one(chance.choice(self._sessions), body))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _one(self, session: aiohttp.ClientSession, body: Mapping[str, Any]) -> None:
        self.answers.append(await ask(session, self.url, body))


def request(model: str, prompt: str, *, tokens: int, stream: bool) -> dict[str, Any]:
    """A greedy completion of exactly so many tokens."""
    return {
        "model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": stream,
    }  # fmt: skip


def with_key(key: str) -> dict[str, str]:
    """Headers of a client that has a key; none without."""
    return {"authorization": f"Bearer {key}"} if key else {}


async def references(url: str, model: str, *, tokens: int = 24, key: str = "") -> dict[str, str]:
    """The undisturbed greedy answer to each of PROMPTS. Raises AssertionError when one is not answered."""
    texts = {}
    async with aiohttp.ClientSession(timeout=TIMEOUT, headers=with_key(key)) as session:
        for prompt in PROMPTS:
            answer = await ask(session, url, request(model, prompt, tokens=tokens, stream=False))
            assert answer.whole, answer
            texts[prompt] = answer.text
    return texts


def check_whole(answers: Iterable[Answer]) -> None:
    """No request failed, and every answer is whole and of one stream."""
    bad = [answer for answer in answers if not answer.whole or len(answer.ids) != 1]
    assert not bad, f"{len(bad)} requests failed or broke: {bad[:3]}"


def check_answers(answers: Collection[Answer], known: dict[str, dict[str, str]]) -> None:
    """Every answer is whole, of one stream, and word for word the greedy answer of the weights that its head names."""
    check_whole(answers)
    wrong = [answer for answer in answers if answer.text != known.get(answer.weights, {}).get(answer.prompt)]
    assert not wrong, f"{len(wrong)} answers are not those of their weights: {wrong[:2]}"
