"""How much work a request is, and sums of it."""

from dataclasses import dataclass
from typing import NamedTuple


class RequestSize(NamedTuple):
    """Tokens of one request: of its prompt, estimated, and those that its answer is expected to have."""

    prompt_tokens: int
    answer_tokens: int


#: Of a request of which nothing is known but that it is one.
UNKNOWN = RequestSize(0, 0)


@dataclass(slots=True)
class WorkTotals:
    """Requests and their tokens; ``seconds`` that they had a slot of a group, added up."""

    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0

    def add(self, size: RequestSize) -> None:
        """Add one request."""
        self.requests += 1
        self.prompt_tokens += size.prompt_tokens
        self.answer_tokens += size.answer_tokens

    def take(self, size: RequestSize) -> None:
        """Take one request out again."""
        self.requests -= 1
        self.prompt_tokens -= size.prompt_tokens
        self.answer_tokens -= size.answer_tokens
