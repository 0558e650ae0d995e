"""Why something waits, as data: a machine word of the catalogue and a sentence with numbers."""

from dataclasses import dataclass

from llama_serving.config.reason_catalogue import PRIORITY
from llama_serving.config.reasons import Reason


@dataclass(frozen=True)
class Explanation:
    """Why something waits. ``group`` is the ordinal it concerns, None for the whole deployment."""

    reason: Reason
    detail: str
    group: int | None = None


def most_severe(holds: tuple[Explanation, ...]) -> Explanation | None:
    """The hold a user should look at first: by reason, then the lowest group."""
    return min(holds, key=lambda hold: (PRIORITY[hold.reason], hold.group or 0), default=None)
