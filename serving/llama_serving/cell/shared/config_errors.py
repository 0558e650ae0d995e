"""Is the model to blame for an engine that was not configured?

Ray Serve LLM turns every error of that step into a ``RuntimeError`` without its cause: a value that vLLM refuses, and a
driver that is not there. vLLM refuses a value by a ``ValueError`` (pydantic's among them), which is still the context
of the error where the step ran in this process. Nothing else is the model's fault, and it is tried again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

REFUSED: Final = "the engine refuses"


class ConfigRefusedError(ValueError):
    """The engine refuses the model or its options: trying again is useless until one of them changes."""


@contextmanager
def naming_refusals() -> Iterator[None]:
    """Raise an error of the engine's configuration anew, by a name that says that a value was refused.

    Raises:
        ConfigRefusedError: in place of a ``RuntimeError`` that a ``ValueError`` was turned into.
    """
    try:
        yield
    except RuntimeError as error:
        refused = error.__context__
        hidden = error.__suppress_context__ and error.__cause__ is None  # it was raised "from None"
        if not hidden or not isinstance(refused, ValueError):
            raise
        raise ConfigRefusedError(f"{REFUSED}: {refused}") from None
