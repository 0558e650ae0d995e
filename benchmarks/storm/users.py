"""Users: small requests at a steady pace, on kept connections and on new ones, and how long answers took."""

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Final

_BODY: Final = b'{"model":"m","messages":[{"role":"user","content":"What is the capital of France?"}],"max_tokens":16}'
_REQUEST: Final = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_BODY), _BODY)
)
_LONGEST: Final = 30.0


@dataclass
class Seen:
    """What the users saw: seconds of each good answer, and what else came, by what it was."""

    seconds: list[float] = field(default_factory=list)
    bad: dict[str, int] = field(default_factory=dict)

    def quantile(self, part: float) -> float:
        """Return the seconds that this part of the answers stayed below; infinite where there is none."""
        ordered = sorted(self.seconds)
        if not ordered:
            return math.inf
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


async def ask(port: int, seconds: float, *, users: int = 8, pace: float = 0.1) -> Seen:
    """Let ``users`` users ask for some seconds, each ``pace`` seconds after its last answer."""
    seen = Seen()
    end = time.monotonic() + seconds
    await asyncio.gather(*[_user(port, end, pace=pace, seen=seen, keeps=bool(number % 2)) for number in range(users)])
    return seen


async def _user(port: int, end: float, *, pace: float, seen: Seen, keeps: bool) -> None:
    streams = None
    while time.monotonic() < end:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(_LONGEST):
                streams = streams or await asyncio.open_connection("127.0.0.1", port)
                status = await _once(*streams)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            status = type(error).__name__
        if status == "200":
            seen.seconds.append(time.monotonic() - begun)
        else:
            seen.bad[status] = seen.bad.get(status, 0) + 1
        if streams is not None and (not keeps or status != "200"):
            streams[1].close()
            streams = None
        await asyncio.sleep(pace)
    if streams is not None:
        streams[1].close()


async def _once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    writer.write(_REQUEST)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
    return head.split(b" ")[1].decode()
