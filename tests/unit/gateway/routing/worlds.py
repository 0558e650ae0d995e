"""Builders of routers and groups in one readable line."""

from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind
from llama_serving.gateway.routing.router import Limits, QueueFull, Router
from llama_serving.gateway.routing.ticket import Ticket

REFUSED = AttemptFault(FaultKind.CONNECT, "refused")
BUSY = AttemptFault(FaultKind.STATUS, "answered 503", 503)
BROKE = AttemptFault(FaultKind.STREAM_BROKEN, "broke off")
ABSENT = AttemptFault(FaultKind.ADAPTER_ABSENT, "has not the adapter", 409)
INTERNAL = AttemptFault(FaultKind.STATUS, "answered 500", 500)
RESET = AttemptFault(FaultKind.RESET, "closed")


def endpoint(
    name: str, *, ready: bool = True, key: str = "", weights: str = "w1", moving: bool = False, **adapters: str
) -> Endpoint:
    """``adapters``: the id of each, by name."""
    return Endpoint(key or name, name, 0, weights, "10.0.0.1", 8000, ready, moving, adapters)


def router(
    *groups: str, in_flight: int = 2, waiting: int = 10, wait: float = 100, retries: int = 10, ejection: float = 1
) -> Router:
    made = Router(Limits(in_flight, waiting, wait, retries, ejection))
    made.update([endpoint(name) for name in groups], 0.0)
    return made


def admit(world: Router, now: float = 0.0, *, adapter: str | None = None) -> Ticket:
    ticket = world.admit(now, adapter=adapter)
    assert not isinstance(ticket, QueueFull), f"refused with {ticket.waiting} waiting"
    return ticket


def where(*tickets: Ticket) -> list[str]:
    """Return the group of each ticket; "-" for one that has none."""
    return [ticket.backend.endpoint.name if ticket.backend else "-" for ticket in tickets]


def ejected(world: Router) -> list[str]:
    """Return the names of the groups that are out."""
    return [backend.endpoint.name for backend in world.backends.values() if backend.health.ejected]


def fail(world: Router, ticket: Ticket, fault: AttemptFault, *, now: float = 0.0) -> bool:
    """Fail an attempt as the handler does; return whether the request is retried."""
    retry = world.may_retry(ticket, fault, now)
    if retry:
        world.requeue(ticket, now)
    return retry


def probe(world: Router, now: float, *, good: bool = True) -> list[str]:
    """Run all due probes; return the names of the groups probed."""
    due = world.due_probes(now)
    for backend, token in due:
        world.probed(backend, token=token, good=good, now=now)
    return [backend.endpoint.name for backend, _ in due]
