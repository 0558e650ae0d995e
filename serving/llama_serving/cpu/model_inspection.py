"""vLLM looks at the class of a model in this process.

Stock, vLLM starts a fresh interpreter only to import the model's class and look at it (8 s of one core, at each start
of a pod, since its cache lies in ``$HOME``), so that CUDA is not initialised in the asking process. There is no CUDA
here.
"""

from collections.abc import Callable
from typing import TypeVar

from vllm.model_executor.models import registry

Result = TypeVar("Result")


def inspect_in_this_process() -> None:
    """Replace vLLM's subprocess by a call."""
    registry._run_in_subprocess = _call  # noqa: SLF001  # the fault is in there


def _call(look: Callable[[], Result]) -> Result:
    return look()
