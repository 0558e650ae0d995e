"""The leader's decisions once its engine answers: exchange the weights, have them verified, serve.

=================================  ==============================================================================
seen                               follows
=================================  ==============================================================================
an exchange runs                   Swapping, not ready; at most ``timeouts.start``
two exchanges failed in a row      SwapFailed, shown for ``SHOW_FAILURE`` seconds; the container starts again
the exchange to the wish failed    SwapFailed, not ready, until another wish comes
other weights wished, all ready    SWAP; Swapping, not ready; the container starts again where more than tensors differs
other weights wished, not ready    the present ones serve; the sentence says what is waited for
no verdict on these weights        VERIFY; Verifying, not ready
a verdict                          Serving, ready; VERIFY again where the wish asks for other proofs
=================================  ==============================================================================

After a failed exchange the stages may hold parts of two weights: such an engine is never ready, whatever it answers.
"""

from dataclasses import dataclass, replace
from typing import Final

from llama_serving.cell.policy.state_machine import Decision, Do, Fault, Memory, Status, conclude
from llama_serving.cell.shared.weights_ref import Load
from llama_serving.config.desired import SwapState
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from llama_serving.config.wording import rough_seconds

SHOW_FAILURE: Final = 15.0  # seconds that a failure stays readable before the container starts again
FAILURES: Final = 2  # exchanges that fail in a row before the engine is started anew: the new weights and the old ones


@dataclass(frozen=True)
class EngineView:
    """What the replica says."""

    in_flight: int
    seconds_ago: float  # since the engine core last answered the replica
    load: Load | None  # what all stages hold; None after a failed exchange
    target: Load | None = None  # what the last exchange was to
    swap: SwapState | None = None  # the last exchange
    failures: int = 0  # exchanges that failed since one was done

    @property
    def swapping(self) -> bool:
        """Whether weights are being exchanged now."""
        return self.swap is not None and self.swap.outcome == "running"


@dataclass(frozen=True)
class Asked:
    """What is asked of the engine's weights, and how far the leader is with it."""

    wanted: Load
    staging: Fault | None = None  # what keeps the wanted weights from being loaded; None where nothing does
    requested: Load | None = None  # what Serve was last told
    verified: bool = False  # there is a verdict on what this engine holds
    proven: bool = False  # and it answers what the wish asks for
    differs: str = ""  # what besides tensors is another in the wanted weights than in those of the engine's start


def serve(memory: Memory, engine: EngineView, asked: Asked, *, start: float, now: float) -> Decision:
    """What follows for an engine that answers; ``start`` is the deadline of an exchange in seconds."""
    if engine.swapping:
        return _await_swap(memory, engine, asked, start=start, now=now)
    if engine.load is None or engine.load != asked.wanted:
        return _exchange(memory, engine, asked, start=start, now=now)
    return _serve(replace(memory, swap_since=None, failed_since=None), engine, asked, now=now)


def _await_swap(memory: Memory, engine: EngineView, asked: Asked, *, start: float, now: float) -> Decision:
    since = now if memory.swap_since is None else memory.swap_since
    memory = replace(memory, swap_since=since)
    target = asked.wanted if engine.target is None else engine.target
    sentence = f"swapping weights to {target.name}, {rough_seconds(now - since)} so far"
    over = now - since > start
    status = Status(Phase.SERVING, CellReason.SWAPPING, sentence)
    return conclude(memory, status, now=now, exit_code=1 if over else None)


def _exchange(memory: Memory, engine: EngineView, asked: Asked, *, start: float, now: float) -> Decision:
    if engine.load is None and engine.failures >= FAILURES:
        return _give_up(memory, engine, now=now)
    if engine.load is None and engine.target == asked.wanted:
        return conclude(memory, Status(Phase.SERVING, CellReason.SWAP_FAILED, _failure(engine)), now=now)
    if asked.staging is not None:
        return _await_staging(replace(memory, swap_since=None), engine, asked, now=now)
    if asked.requested == asked.wanted:
        return _await_swap(memory, engine, asked, start=start, now=now)
    if asked.differs:
        sentence = f"{asked.wanted.name} has another {asked.differs}: the engine starts anew with it."
        return conclude(memory, Status(Phase.SERVING, CellReason.SWAPPING, sentence), now=now, exit_code=1)
    sentence = f"Exchanging the weights for {asked.wanted.name}: Serve is told."
    status = Status(Phase.SERVING, CellReason.SWAPPING, sentence)
    since = now if memory.swap_since is None else memory.swap_since
    return conclude(replace(memory, swap_since=since), status, now=now, actions=(Do.SWAP,))


def _await_staging(memory: Memory, engine: EngineView, asked: Asked, *, now: float) -> Decision:
    assert asked.staging is not None
    if engine.load is None:
        sentence = f"{_failure(engine)} {asked.wanted.name} is waited for: {asked.staging.message}"
        return conclude(memory, Status(Phase.SERVING, CellReason.SWAP_FAILED, sentence), now=now)
    return _serve(memory, engine, asked, now=now)


def _give_up(memory: Memory, engine: EngineView, *, now: float) -> Decision:
    since = now if memory.failed_since is None else memory.failed_since
    memory = replace(memory, failed_since=since)
    sentence = f"{_failure(engine)} {engine.failures} exchanges failed: the engine starts anew."
    status = Status(Phase.SERVING, CellReason.SWAP_FAILED, sentence)
    return conclude(memory, status, now=now, exit_code=1 if now - since >= SHOW_FAILURE else None)


def _serve(memory: Memory, engine: EngineView, asked: Asked, *, now: float) -> Decision:
    assert engine.load is not None
    actions = () if asked.proven else (Do.VERIFY,)
    if not asked.verified:
        status = Status(Phase.SERVING, CellReason.VERIFYING, f"{engine.load.name} is asked what it must answer.")
        return conclude(memory, status, now=now, actions=actions)
    sentence = f"Serving {engine.load.id}; {engine.in_flight} requests in flight."
    if asked.staging is not None and asked.wanted != engine.load:
        sentence += f" {asked.wanted.name} is waited for: {asked.staging.message}"
    return conclude(memory, Status(Phase.SERVING, CellReason.SERVING, sentence, ready=True), now=now, actions=actions)


def _failure(engine: EngineView) -> str:
    said = engine.swap.message if engine.swap is not None else ""
    return said or "The weights could not be exchanged."
