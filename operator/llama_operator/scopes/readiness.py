"""How the process stands in each namespace: for /ready and for its metrics.

Ready: every namespace is watched, whether this process serves it or stands by. Else no rollout of the operator's own
Deployment would come to its end. A namespace that is gone, or whose lease cannot be reached, makes the process unready
only when there is no other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from llama_operator.scopes import sentences
from llama_operator.scopes.scope import Scope
from llama_operator.scopes.term import Terms
from llama_serving.config.metrics import Metric, Samples

ALL: Final = "*"  # names all namespaces


@dataclass(frozen=True)
class Readiness:
    """The scopes and the terms of this process."""

    scopes: tuple[Scope, ...]
    terms: Terms

    @property
    def ready(self) -> bool:
        """Tell whether the process does what it can."""
        counted = [scope for scope in self.scopes if not scope.closed] or self.scopes
        terms = self.terms.all()
        return not any(scope.obstacles for scope in counted) and (not terms or any(term.well for term in terms))

    def namespaces(self) -> dict[str, str]:
        """Return one sentence for each namespace."""
        found = {scope.namespace or ALL: _sentence(scope.obstacles) for scope in self.scopes}
        for term in self.terms.all():
            if found.get(term.namespace, sentences.serving()) == sentences.serving():
                found[term.namespace] = sentences.serving() if term.held else _waits(term.problem, term.holder)
        return found


def _sentence(obstacles: tuple[str, ...]) -> str:
    return "; ".join(obstacles) or sentences.serving()


def _waits(problem: str, holder: str) -> str:
    return problem or sentences.standing_by(holder)


def _gauge(name: str, help_text: str, read: Callable[[Readiness], Samples]) -> Metric[Readiness]:
    return Metric(f"llama_operator_{name}", "gauge", help_text, read, labels=("namespace",))


METRICS: Final[tuple[Metric[Readiness], ...]] = (
    _gauge(
        "leader",
        "1 where this process holds the lease and serves, 0 where it stands by",
        lambda state: [((term.namespace,), int(term.held)) for term in state.terms.all()],
    ),
    _gauge(
        "obstacles",
        "What keeps a namespace from being watched: missing CRDs, missing rights. /ready has the sentences",
        lambda state: [((scope.namespace or ALL,), len(scope.obstacles)) for scope in state.scopes],
    ),
)
