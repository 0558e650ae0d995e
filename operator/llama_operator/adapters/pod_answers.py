"""Answers of pods, read up to a limit: a pod runs what its namespace likes, so it may send anything for ever.

Nothing is inflated (``Accept-Encoding: identity``; another encoding is refused) and no redirect is followed: it would
make the operator ask whatever the pod names. What all answers of a moment hold together is bounded too: the first FREE
bytes of each are always read, so that one pod with large answers costs no other pod its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from llama_operator.adapters.bounded_body import read_up_to
from llama_operator.bounds.json_text import JsonLimits, OverLimitError

#: One answer of a supervisor: 32 golden prompts of 4,096 characters and their answers have 0.6 MB.
SUPERVISOR_ANSWER: Final = JsonLimits(size=1 << 20, elements=50_000)
#: The load of a gateway: of 1,024 adapters in 32 groups it has 0.5 MB.
GATEWAY_ANSWER: Final = JsonLimits(size=1 << 20, elements=100_000)
#: A refusal, of which one sentence is quoted.
REFUSAL: Final = 16 << 10

FREE: Final = 64 << 10  # bytes of each answer that count for nothing
AT_A_TIME: Final = 32 << 20  # bytes beyond these, of all answers that are being read

#: Options of a request to a pod.
OPTIONS: Final[dict[str, Any]] = {"allow_redirects": False, "auto_decompress": False}
HEADERS: Final = {"Accept-Encoding": "identity"}


class EncodedError(ValueError):
    """A pod sends what was not asked for: a content encoding."""


@dataclass
class ReadBudget:
    """Bytes that the answers of a moment may hold together."""

    limit: int = AT_A_TIME
    held: int = 0

    @contextmanager
    def share(self) -> Iterator["_Share"]:
        """Count what one answer holds until the block ends."""
        share = _Share(self)
        try:
            yield share
        finally:
            self.held -= share.held


@dataclass
class _Share:
    budget: ReadBudget
    held: int = 0

    def take(self, size: int) -> None:
        """Count up to ``size`` bytes of this answer. Raises OverLimitError."""
        more = max(size - FREE, 0) - self.held
        if self.budget.held + more > self.budget.limit:
            raise OverLimitError(f"is read when others are: all answers of a moment have {self.budget.limit} bytes")
        self.budget.held += more
        self.held += more


async def read_answer(response: aiohttp.ClientResponse, *, limit: int, share: _Share) -> bytes:
    """Read a body.

    Raises:
        OverLimitError: it has more than ``limit`` bytes, or all answers of the moment have too many.
        EncodedError: it is compressed.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise EncodedError(f"is encoded as {encoding[:20]!r}, which was not asked for")
    return await read_up_to(response, limit, count=share.take)
