"""What was asked of each LoRA adapter: how often, how long ago, and what waits or runs for it now."""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass

from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.ticket import Ticket


@dataclass(slots=True)
class AdapterUse:
    """Requests for one adapter; ``last_used`` on the caller's clock, ``oldest_since`` None where none waits."""

    arrived: int
    last_used: float
    waiting: int = 0
    in_flight: int = 0
    oldest_since: float | None = None


class AdapterDemand:
    """Counts by the adapter's name; bounded by the names that requests are admitted for."""

    def __init__(self) -> None:
        self._arrived: Counter[str] = Counter()
        self._last_used: dict[str, float] = {}

    def arrived(self, ticket: Ticket, now: float) -> None:
        """Count a request that was accepted, or for which the queue has no room."""
        if ticket.adapter is not None:
            self._arrived[ticket.adapter] += 1
            self._last_used[ticket.adapter] = now

    def ended(self, ticket: Ticket, now: float) -> None:
        """Record that a request has ended, however it did."""
        if ticket.adapter in self._last_used:
            self._last_used[ticket.adapter] = now

    def keep_only(self, names: Container[str]) -> None:
        """Forget the adapters that do not exist any more."""
        for name in [name for name in self._last_used if name not in names]:
            del self._arrived[name], self._last_used[name]

    def uses(self, waiting: Iterable[Ticket], backends: Iterable[Backend]) -> dict[str, AdapterUse]:
        """Return what is known of each adapter that was asked for."""
        found = {name: AdapterUse(self._arrived[name], last) for name, last in self._last_used.items()}
        for ticket in waiting:
            use = found.get(ticket.adapter or "")
            if use is not None and ticket.waiting_since is not None:
                use.waiting += 1
                since = use.oldest_since
                use.oldest_since = ticket.waiting_since if since is None else min(since, ticket.waiting_since)
        for backend in backends:
            for name, count in backend.by_adapter.items():
                if name in found:
                    found[name].in_flight += count
        return found
