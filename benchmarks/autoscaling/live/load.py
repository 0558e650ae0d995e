"""An open load: each request is sent when the trace says so, whatever became of those before it."""

import asyncio
import time
from dataclasses import dataclass, field

import aiohttp

from benchmarks.autoscaling.live.groups import PATH, TOKEN
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.traces import Request, Trace


@dataclass
class OpenLoad:
    """What was asked so far. ``waits`` in seconds, by the number of the request; inf: it failed."""

    url: str
    model: str
    trace: Trace
    parameters: Parameters
    waits: dict[int, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    late_sent: float = 0.0  # seconds by which the latest request was sent too late

    async def run(self) -> None:
        """Send all requests and wait for their answers."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as session:
            begun = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for number, request in enumerate(self.trace.requests):
                    await asyncio.sleep(begun + request.arrival - time.monotonic())
                    self.late_sent = max(self.late_sent, time.monotonic() - begun - request.arrival)
                    group.create_task(self._ask(session, number, request))

    async def _ask(self, session: aiohttp.ClientSession, number: int, request: Request) -> None:
        body = {"model": self.model, "prompt": TOKEN * request.prompt, "max_tokens": request.answer}
        begun = time.monotonic()
        try:
            async with session.post(f"{self.url}{PATH}", json=body) as answer:
                text = await answer.text()
                if answer.status != 200:
                    raise ValueError(f"{answer.status} {text[:200]}")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.failed.append(f"{type(error).__name__}: {error}")
            self.waits[number] = float("inf")
        else:
            self.waits[number] = time.monotonic() - begun - self.parameters.seconds(request)
