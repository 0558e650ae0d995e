"""One request of a client that is told apart, from its key to what it is billed."""

from collections.abc import Callable
from dataclasses import dataclass, field

from llama_serving.gateway.access.pure.account import Account
from llama_serving.gateway.access.pure.accounts import KeyEntry
from llama_serving.gateway.access.pure.usage import Meter


@dataclass(slots=True, eq=False)
class Visit:
    """A request; ``entry``: the key that let it in, None without keys.

    ``reserved``: tokens that were taken for it; ``expected``: those of its prompt, as estimated. ``prompt_tokens``: of
    its prompt, counted; None: not counted. ``is_over``: its key may not call any more; ``cut`` ends it.
    """

    account: Account
    entry: KeyEntry | None = None
    meter: Meter = field(default_factory=Meter)
    reserved: int = 0
    expected: int = 0
    prompt_tokens: int | None = None
    model: str = ""
    is_over: bool = False
    cut: Callable[[], None] | None = None

    def may_see(self, model: str) -> bool:
        """Return whether the client may ask for this model."""
        return self.entry is None or not self.entry.models or model in self.entry.models

    @property
    def models(self) -> frozenset[str]:
        """The models that it may ask for; none: all."""
        return frozenset() if self.entry is None else self.entry.models
