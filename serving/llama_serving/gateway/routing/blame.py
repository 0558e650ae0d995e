"""Whose fault a failed attempt is: the group's, or the request's own.

A failure does not tell. A group that is sick fails what others answer; a request that is poison fails everywhere, and
whoever sends it often enough would have every group taken out for all others. So a failure of a request that the group
had got (500, a connection closed on it, bytes that are not HTTP, a stream that breaks off) is a charge, and the group
is probed. The charge ends in one of three ways:

    another group answers the same request well     it becomes a strike of the group
    another group that lives fails it too           the request is the cause: no strike, and it is not tried again
    the request ends otherwise                      nothing: nobody knows

A group lives if, since it failed the request, it has answered another one or a probe; one that was ejected meanwhile,
or is not ready, has died with the request, which says nothing of the request. While two groups have failed a request
and it is open which of them live, it is sent to no third one.

STRIKES strikes without a whole answer in between take the group out (ejection.py). They are of different requests,
because a request strikes a group once.

A hang is not repeated (retry_policy.py), so it has no witness. It is a strike where the group has answered nobody for
as long as the request hung, and another group has.

Invariants, whatever is sent and however often:

1. A request that fails on every group strikes none.
2. Strikes never take out more than half of the groups that serve, so never the last one. Where all others have gone,
   those that strikes took out come back at once. What a probe or a refused connection says holds for the last one too:
   it does not serve.
3. A request without progress fails on at most two groups that live, and closes at most ``MAX_KILLS`` connections.
4. A group that fails all requests is out after STRIKES of them, if another group answers them.
"""

from collections.abc import Mapping

from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.charges import WITNESSES
from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind
from llama_serving.gateway.routing.ticket import Ticket


class Blame:
    """The rule above over all backends, which it reads and tells of their strikes."""

    def __init__(self, backends: Mapping[str, Backend]) -> None:
        self._backends = backends

    def failed(self, ticket: Ticket, fault: AttemptFault, now: float) -> None:
        """Take over what a failure says about the request's backend."""
        backend = ticket.backend
        if backend is None or not fault.doubts_backend:
            return
        if fault.kind is FaultKind.CONNECT:
            backend.health.unreachable(epoch=ticket.epoch, now=now)
            self.pardon()
            return
        backend.health.doubt(epoch=ticket.epoch, now=now)
        if fault.kind is FaultKind.READ_TIMEOUT:
            self._hung(ticket, backend, now)
        else:
            lives = fault.kind is FaultKind.STATUS
            ticket.charges.add(backend, epoch=ticket.epoch, alike=fault.is_seen, lives=lives)

    def settle(self, ticket: Ticket, now: float) -> None:
        """Make strikes of what the request has against others, because its backend answers it."""
        if ticket.backend is None:
            return
        for charge in ticket.charges.settle(ticket.backend):
            charge.backend.health.strike(now=now, may_eject=self._can_do_without(charge.backend))

    def pardon(self) -> None:
        """Let those that strikes took out come back, where there is no other."""
        if not any(backend.is_routable for backend in self._backends.values()):
            for backend in self._backends.values():
                backend.health.pardon()

    def is_on(self, ticket: Ticket) -> bool:
        """Return whether the request itself is the cause of its failures."""
        if not ticket.is_cause and ticket.charges.make_it_the_cause:
            ticket.is_cause = True
            ticket.last_fault += f"; {WITNESSES} groups that answer others failed this request, so no other gets it"
        return ticket.is_cause

    def _hung(self, ticket: Ticket, backend: Backend, now: float) -> None:
        since = ticket.placed_at
        if ticket.epoch != backend.health.epoch or backend.health.worked_at >= since:
            return
        if any(other.health.worked_at >= since for other in self._backends.values()):
            backend.health.strike(now=now, may_eject=self._can_do_without(backend))

    def _can_do_without(self, backend: Backend) -> bool:
        serving = [other for other in self._backends.values() if other.would_serve]
        struck_out = sum(other.health.struck_out for other in serving)
        return backend in serving and 2 * (struck_out + 1) <= len(serving)
