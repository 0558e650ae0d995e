"""The terms of this process: the namespaces whose lease it holds, so that of several operators one writes.

Every namespace has one lease, whatever release serves it: releases that overlap share it. Another process takes a lease
when it was released, or when ``seconds`` have passed since it *saw* the last renewal. The holder counts from *before*
it asked for the renewal, and stops MARGIN earlier: so the two never write at a time, whatever their clocks say.
A process that does not hold the lease watches all the same; it takes over without a list.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from math import inf

from llama_operator.ports import Lease, Leases, Rejected, Retry
from llama_serving.config.error_text import error_text

log = logging.getLogger(__name__)

PASSES = 32  # at once, over all loops
SECONDS = 15.0  # of a lease without a renewal
RENEWAL = 5.0  # seconds between two renewals
MARGIN = 1.0  # seconds before the end of the lease at which the holder stops
AGAIN = 1.0  # seconds between two tries when the API server does not answer


class Term:
    """The lease of one namespace, as this process has it."""

    def __init__(self, namespace: str, *, me: str, leases: Leases, clock: Callable[[], float]) -> None:
        self.namespace = namespace
        self.holder = ""  # whoever has it, as seen last
        self.problem = ""  # why it can be neither held nor watched
        self.refused = asyncio.Event()  # the API server refuses it: a right is missing, or the namespace is gone
        self._me = me
        self._leases = leases
        self._clock = clock
        self._until = -inf
        self._held = asyncio.Event()
        self._limits: set[asyncio.Timeout] = set()
        self._lease: Lease | None = None

    @property
    def left(self) -> float:
        """Seconds for which the lease is certainly ours; 0 where it is not."""
        return max(0.0, self._until - self._clock())

    @property
    def held(self) -> bool:
        """Tell whether it is ours now."""
        return self.left > 0

    @property
    def well(self) -> bool:
        """Tell whether it is known who has it."""
        return self.held or bool(self.holder and not self.problem)

    @contextlib.asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """Wait until the lease is ours, and end the block when it is not any more."""
        while not self.held:
            self._held.clear()
            await self._held.wait()
        limit = asyncio.timeout(self.left)
        self._limits.add(limit)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._limits.discard(limit)

    async def run(self) -> None:
        """Get the lease and keep it, for ever."""
        while True:
            try:
                await self._keep(await self._acquire())
            except (Retry, Rejected) as error:
                if self.problem != str(error):
                    log.warning("the lease of namespace %s: %s", self.namespace, error)
                self.problem = str(error)
                if isinstance(error, Rejected):
                    self.refused.set()
            except Exception as error:  # nothing seeks the lease again
                log.exception("the lease of namespace %s", self.namespace)
                self.problem = error_text(error)
            await asyncio.sleep(AGAIN)

    async def resign(self) -> None:
        """Let others have it at once; the caller has ended what writes."""
        lease, self._lease, self._until = self._lease, None, -inf
        self._held.clear()
        if lease:
            with contextlib.suppress(Retry, Rejected):  # then it ends by itself
                await self._leases.write(self.namespace, Lease("", 1.0, lease.version, lease.transitions))

    async def _acquire(self) -> Lease:
        seen: Lease | None = None
        since = self._clock()
        while True:
            lease = await self._leases.read(self.namespace)
            self.problem = ""
            if lease is None or lease.holder in ("", self._me):
                return await self._take(lease)
            if seen is None or seen.version != lease.version:
                seen, since = lease, self._clock()
            left = since + lease.seconds - self._clock()
            if left <= 0:
                log.warning("namespace %s: %s has not renewed its lease", self.namespace, lease.holder)
                return await self._take(lease)
            self._stand_by(lease.holder)
            await self._leases.changed(self.namespace, lease, seconds=left)

    def _stand_by(self, holder: str) -> None:
        if holder != self.holder:
            log.warning("namespace %s is served by %s; this operator stands by", self.namespace, holder)
        self.holder = holder

    async def _take(self, before: Lease | None) -> Lease:
        asked = self._clock()
        version, transitions = (before.version, before.transitions + 1) if before else ("", 0)
        lease = await self._leases.write(self.namespace, Lease(self._me, SECONDS, version, transitions))
        log.info("namespace %s is served by this operator (%s)", self.namespace, self._me)
        self._renewed(lease, asked)
        return lease

    async def _keep(self, lease: Lease) -> None:
        """Renew until it is lost."""
        while self.held:
            await asyncio.sleep(min(RENEWAL, self.left))
            try:
                lease = await self._renew(lease)
            except Retry as error:
                self.problem = str(error)
                await asyncio.sleep(min(AGAIN, self.left))
                lease = await self._as_stored(lease)
            except Rejected:
                self._lost()
                raise
        self._lost()

    async def _renew(self, lease: Lease) -> Lease:
        asked = self._clock()
        new = await self._leases.write(self.namespace, Lease(self._me, SECONDS, lease.version, lease.transitions))
        self._renewed(new, asked)
        return new

    async def _as_stored(self, lease: Lease) -> Lease:
        """Look who has it after a renewal that failed: an answer may have been lost."""
        try:
            found = await self._leases.read(self.namespace)
        except Retry:
            return lease
        if found is None or found.holder != self._me:
            self._until = -inf
            return lease
        return found

    def _renewed(self, lease: Lease, asked: float) -> None:
        self._lease, self.holder, self.problem = lease, self._me, ""
        self._until = asked + SECONDS - MARGIN
        self._held.set()
        end = asyncio.get_running_loop().time() + self.left
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(end)

    def _lost(self) -> None:
        self._lease, self._until = None, -inf
        self._held.clear()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())
        log.error("namespace %s: the lease could not be renewed in time; this operator has stopped", self.namespace)


class Terms:
    """The terms of all namespaces, and the turns of their passes."""

    def __init__(self, *, me: str, leases: Leases, clock: Callable[[], float]) -> None:
        self._me = me
        self._leases = leases
        self._clock = clock
        self._passes = asyncio.Semaphore(PASSES)
        self._terms: dict[str, tuple[Term, asyncio.Task[None]]] = {}
        self._closed = False

    def all(self) -> list[Term]:
        """List the terms, by namespace."""
        return [self._terms[namespace][0] for namespace in sorted(self._terms)]

    def of(self, namespace: str) -> Term:
        """Return the term of a namespace; from the first time on its lease is sought."""
        if namespace not in self._terms:
            term = Term(namespace, me=self._me, leases=self._leases, clock=self._clock)
            if self._closed:
                return term
            self._terms[namespace] = term, asyncio.create_task(term.run(), name=f"lease of {namespace}")
        return self._terms[namespace][0]

    def left(self, namespace: str) -> float:
        """Return for how many seconds this process may write in a namespace; 0 where it may not."""
        found = self._terms.get(namespace)
        return found[0].left if found else 0.0

    @contextlib.asynccontextmanager
    async def turn(self, namespace: str) -> AsyncIterator[None]:
        """Wait until the lease is ours and fewer than PASSES passes run."""
        term = self.of(namespace)
        async with term.limited():
            pass  # ours: nobody who stands by takes a place
        async with self._passes, term.limited():
            yield

    @contextlib.asynccontextmanager
    async def small_turn(self, namespace: str) -> AsyncIterator[None]:
        """Wait until the lease is ours, and for no pass: for what takes one write at most and cannot wait long."""
        async with self.of(namespace).limited():
            yield

    async def close(self) -> None:
        """Release all leases and seek none any more."""
        self._closed = True
        await self.resign()

    async def resign(self, namespace: str = "") -> None:
        """Release the lease of a namespace, or all leases; whoever writes has been ended before."""
        mine = [one for one in self._terms if namespace in ("", one)]
        ended = [self._terms.pop(one) for one in mine]
        for _, task in ended:
            task.cancel()
        await asyncio.gather(*(task for _, task in ended), return_exceptions=True)
        await asyncio.gather(*(term.resign() for term, _ in ended))
