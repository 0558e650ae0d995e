"""Why something waits, as data: a machine word of the catalogue and a sentence with numbers."""

from dataclasses import dataclass

from llama_serving.config.reason_catalogue import PRIORITY
from llama_serving.config.reasons import Reason


@dataclass(frozen=True)
class Explanation:
    """Why something waits. ``group`` is the ordinal it concerns, None for the whole deployment.

    ``passing``: it may end without anybody, whatever its reason, such as a registry that asks to wait.
    """

    reason: Reason
    detail: str
    group: int | None = None
    passing: bool = False


def most_severe(explanations: tuple[Explanation, ...]) -> Explanation | None:
    """Return what a user should look at first: by reason, then the lowest group."""
    return min(explanations, key=lambda one: (PRIORITY[one.reason], one.group or 0), default=None)
