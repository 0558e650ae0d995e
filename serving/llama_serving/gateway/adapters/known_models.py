"""Which names of models exist, and what becomes of a request for one. Pure.

    no file, no group with an adapter    nobody knows names: every name goes to an engine
    the base's name, or none             the base answers
    an adapter                           a group that has it answers; until there is one, the request waits
    an adapter that was refused          404 with the sentence of the refusal, unless a group still answers with it
    any other name                       404 at once

Names come from the file (``ServedModels``) and from the annotations of leaders. The file may be a minute old: an
adapter that a group answers with exists, whatever the file says.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from llama_serving.config.gateway import MOST_ADAPTERS, ServedAdapter, ServedModels
from llama_serving.config.names import CODE_ADAPTER_REFUSED, CODE_MODEL_NOT_FOUND
from llama_serving.gateway.routing.endpoint import Endpoint

LONGEST_SHOWN: Final = 256  # characters of an unknown name that are repeated in the answer


class ModelRefusedError(Exception):
    """Nobody answers with this model; ``status``, ``code`` and ``param`` for the client."""

    status: Final = 404
    param: Final = "model"

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class KnownModels:
    """The names; ``base`` are those of the base model, none where they are not known."""

    def __init__(self, base: Sequence[str]) -> None:
        self.base = tuple(base)
        self.max_model_len: int | None = None
        self._has_file = False
        self._specified: dict[str, ServedAdapter] = {}
        self._held: frozenset[str] = frozenset()

    @property
    def is_told(self) -> bool:
        """Whether anybody has said which names exist."""
        return self._has_file or bool(self._held)

    def tell_file(self, models: ServedModels | None) -> None:
        """Take over what the file says; None where there is none."""
        self._has_file = models is not None
        self._specified = {one.name: one for one in models.adapters} if models else {}
        self.max_model_len = models.max_model_len if models else None

    def tell_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Take over which adapters the groups answer with."""
        held: set[str] = set()
        for endpoint in endpoints:
            held.update(endpoint.adapters if len(held) < MOST_ADAPTERS else ())
        self._held = frozenset(held)

    def names(self) -> frozenset[str]:
        """Return the names of all adapters that exist."""
        return self._held | self._specified.keys()

    def adapter_of(self, model: str | None) -> str | None:
        """Return the adapter that a request for ``model`` is for; None: the base. Raises ModelRefusedError."""
        if model is None or model in self.base:
            return None
        if not (self.base and self.is_told) and model not in self.names():
            return None  # it may be the base's
        if (error := self.why_not(model)) is not None:
            raise error
        return model

    def why_not(self, adapter: str) -> ModelRefusedError | None:
        """Return why no group will ever answer with this adapter as things are; None where one does, or may."""
        if adapter in self._held:
            return None
        known = self._specified.get(adapter)
        if known is None:
            return not_found(adapter)
        if known.refused:
            return ModelRefusedError(
                f"the model {adapter!r} cannot be served: {known.refused}", code=CODE_ADAPTER_REFUSED
            )
        return None

    def parents(self) -> dict[str, str]:
        """Return the adapters that requests may name, with the base's name of each, in alphabetical order."""
        base = self.base[0] if self.base else ""
        named = {name: one.parent for name, one in self._specified.items() if not one.refused}
        return {name: named.get(name, base) for name in sorted(self._held | named.keys())}


def not_found(name: str) -> ModelRefusedError:
    """Return the error for a name that does not exist, in OpenAI's words."""
    return ModelRefusedError(f"The model '{name[:LONGEST_SHOWN]}' does not exist", code=CODE_MODEL_NOT_FOUND)
