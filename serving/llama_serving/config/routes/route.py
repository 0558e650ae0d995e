"""What is decided of one HTTP route.

A route is PASSED to a group only if it keeps no state in the engine: then any group may answer it, and a request that
failed before the first byte of its answer may be repeated by another.
"""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Who answers a route."""

    PASSED = "passed"  # a group
    ANSWERED = "answered"  # the gateway, alone
    REFUSED = "refused"  # the gateway, with a sentence


class Work(StrEnum):
    """What a passed route costs a group; all but NONE count as workload and start a group at zero."""

    GENERATES = "prompt and answer"
    SCORES = "prompt"
    TOKENIZES = "a request, no tokens"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route. ``path`` is literal, but for a last or middle part in braces, which stands for any text.

    ``note``: what it is for; where it is refused, the sentence that the client gets.
    ``of_engine``: the pinned vLLM, or Ray Serve's server around it, can mount it.
    """

    path: str
    methods: tuple[str, ...]
    verdict: Verdict
    note: str
    work: Work = Work.NONE
    of_engine: bool = True
