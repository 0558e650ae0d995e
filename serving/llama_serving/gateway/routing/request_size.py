"""The size of a request in tokens, and totals over requests."""

from dataclasses import dataclass
from typing import NamedTuple


class RequestSize(NamedTuple):
    """Tokens of one request: of its prompt (estimated) and of its answer (expected)."""

    prompt_tokens: int
    answer_tokens: int


#: The size of a request whose body was not read.
UNKNOWN = RequestSize(0, 0)


@dataclass(slots=True)
class WorkTotals:
    """Requests and their tokens; ``seconds`` is the time that they held a slot of a group, added up."""

    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0

    def add(self, size: RequestSize) -> None:
        """Add one request."""
        self.requests += 1
        self.prompt_tokens += size.prompt_tokens
        self.answer_tokens += size.answer_tokens

    def subtract(self, size: RequestSize) -> None:
        """Subtract one request."""
        self.requests -= 1
        self.prompt_tokens -= size.prompt_tokens
        self.answer_tokens -= size.answer_tokens
