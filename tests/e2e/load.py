"""A steady streaming load: closed-loop clients that ask, read to the end, and note what they saw."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from llama_serving.config import names


@dataclass(frozen=True)
class Answer:
    """One request. ``group`` is empty when no response came."""

    start: float
    end: float
    status: int
    group: str
    whole: bool  # the stream ended with [DONE] and without an error
    said: str = ""

    @property
    def failed(self) -> bool:
        """No usable answer began: nothing excuses that."""
        return self.status != 200

    @property
    def broken(self) -> bool:
        """The answer began and did not end."""
        return self.status == 200 and not self.whole


@dataclass
class Load:
    """``async with Load(url, model, clients=4) as load``; ``answers`` grows while it runs."""

    url: str
    model: str
    clients: int = 4
    tokens: int = 24
    answers: list[Answer] = field(default_factory=list)
    running: dict[int, float] = field(default_factory=dict)

    async def __aenter__(self) -> "Load":
        # A connection per request: new ones must find a living gateway through the Service.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=300))
        self._stop = False
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self.clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)
        await self._session.close()

    async def finished(self, count: int, *, within: float) -> None:
        """Wait until ``count`` more answers are whole. Raises AssertionError with what was seen."""
        goal = sum(answer.whole for answer in self.answers) + count
        end = time.monotonic() + within
        while sum(answer.whole for answer in self.answers) < goal:
            assert time.monotonic() < end, f"no {count} answers within {within} s; {self.summary()}"
            await asyncio.sleep(0.05)

    def summary(self) -> str:
        """Counts, and the last things that went wrong."""
        counts = Counter("whole" if a.whole else "broken" if a.broken else f"failed {a.status}" for a in self.answers)
        bad = [answer for answer in self.answers if not answer.whole][-3:]
        return f"{dict(counts)}, by group {dict(Counter(a.group for a in self.answers))}, last bad: {bad}"

    async def _client(self, number: int) -> None:
        while not self._stop:
            self.running[number] = time.monotonic()
            self.answers.append(await self._ask(number))

    async def _ask(self, number: int) -> Answer:
        body = {
            "model": self.model, "prompt": f"Beautiful is better than {number}", "max_tokens": self.tokens,
            "temperature": 0, "ignore_eos": True, "stream": True,
        }  # fmt: skip
        start, status, group, said, done = time.monotonic(), 0, "", "", False
        try:
            async with self._session.post(f"{self.url}/v1/completions", json=body) as response:
                status, group = response.status, response.headers.get(names.HEADER_GROUP, "")
                async for line in response.content:
                    data = line.removeprefix(b"data: ").strip()
                    if data == b"[DONE]":
                        done = not said
                    elif data.startswith(b"{") and "error" in json.loads(data):
                        said = data.decode()[:300]
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            said = repr(error)[:300]
        return Answer(start, time.monotonic(), status, group, done, said)
