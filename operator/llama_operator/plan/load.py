"""What all gateways of a deployment have to do, as one reading; merged from what each of them says.

Gateways count upwards from their start; a reading holds differences to the reading before, so a request is counted
once, whichever gateway had it, and a gateway that started anew counts from zero. A gateway that did not answer makes
the reading a lower bound.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """One reading. ``span`` is the time since the reading before, 0 at the first: then all differences are 0."""

    known: bool  # False: somebody did not answer, so every number is a lower bound
    silent: tuple[str, ...] = ()  # gateway pods that did not answer
    span: float = 0.0  # seconds
    waiting: int = 0  # requests
    oldest_wait: float = 0.0  # seconds
    in_flight: int = 0  # requests on groups
    waiting_prompt_tokens: int = 0
    waiting_answer_tokens: int = 0  # expected
    arrived: int = 0  # requests within span
    arrived_prompt_tokens: int = 0
    arrived_answer_tokens: int = 0  # asked
    served: int = 0  # requests that ended within span, answered
    served_prompt_tokens: int = 0
    served_answer_tokens: int = 0  # produced
    served_seconds: float = 0.0  # that those spent on groups, added up
    engine_waiting: int = 0  # requests that engines have accepted and not begun
