"""What one request has against the groups that failed it: see blame.py."""

from dataclasses import dataclass

from llama_serving.gateway.routing.backend import Backend

#: So many groups that live and fail the same request make it the cause.
WITNESSES = 2


@dataclass(slots=True)
class Charge:
    """One group that failed the request; ``lives`` is how often it had shown then that it lives.

    ``alike``: the request may be the cause, and has made no progress since.
    """

    backend: Backend
    epoch: int
    lives: int
    alike: bool

    @property
    def is_void(self) -> bool:
        """Whether the group was taken out, left, or began anew since."""
        health = self.backend.health
        return health.ejected or health.epoch != self.epoch or self.backend.gone or not self.backend.endpoint.ready

    @property
    def is_of_living(self) -> bool:
        """Whether the group has lived on since."""
        return not self.is_void and self.backend.health.lives > self.lives


class Charges:
    """What one request has against groups."""

    __slots__ = ("_charges",)

    def __init__(self) -> None:
        self._charges: dict[str, Charge] = {}

    def add(self, backend: Backend, *, epoch: int, alike: bool, lives: bool) -> None:
        """Charge the group with a failure of a request that it got in ``epoch``.

        ``alike``: the request may be the cause; ``lives``: the failure itself shows that the group lives.
        """
        shown = backend.health.lives - lives
        self._charges[backend.key] = Charge(backend, epoch, shown, alike)

    def progressed(self) -> None:
        """Record that a group has brought the request further: who failed it before did not do so for its sake."""
        for charge in self._charges.values():
            charge.alike = False

    @property
    def make_it_the_cause(self) -> bool:
        """Whether enough groups that live have failed the request."""
        if len(self._charges) < WITNESSES:
            return False
        return sum(charge.alike and charge.is_of_living for charge in self._charges.values()) >= WITNESSES

    @property
    def bar_it(self) -> bool:
        """Whether no other group may get the request: it is the cause, or that is still open."""
        if len(self._charges) < WITNESSES:
            return False
        return sum(charge.alike and not charge.is_void for charge in self._charges.values()) >= WITNESSES

    @property
    def are_open(self) -> bool:
        """Whether there are any."""
        return bool(self._charges)

    def drop(self) -> None:
        """Drop all charges: nobody knows, or it was the request."""
        self._charges.clear()

    def settle(self, witness: Backend) -> list[Charge]:
        """Return the charges that the good answer of ``witness`` proves, and drop all."""
        proven = [charge for charge in self._charges.values() if charge.backend is not witness and not charge.is_void]
        self.drop()
        return proven
