"""An idle engine is asked for one token from time to time: what hangs in a stage shows before a user waits for it.

Nothing waits for the answer here. A probe that is not answered is a request that the engine has not ended, which the
supervisor's watch sees (``ReplicaState.unfinished``). It does not count as a request of a user.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

IDLE: Final = 5.0  # seconds without a request in the engine
_LOOK: Final = 0.5  # seconds


async def probe_for_ever(
    probe: Callable[[str], Awaitable[None]],
    *,
    unfinished: Callable[[], int],
    may_ask: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call ``probe`` with a new name whenever the engine had no request for ``IDLE`` seconds; one runs at a time."""
    idle = 0.0
    numbers = itertools.count(1)
    while True:
        await sleep(_LOOK)
        idle = 0.0 if unfinished() or not may_ask() else idle + _LOOK
        if idle >= IDLE:
            idle = 0.0
            await probe(f"idle-probe-{next(numbers)}")


async def one_token(engine: Any, name: str) -> None:
    """Let vLLM's ``engine`` make one token through every stage."""
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=1, temperature=0, detokenize=False, ignore_eos=True)
    async for _ in engine.generate({"prompt_token_ids": [0]}, parameters, name):
        pass
