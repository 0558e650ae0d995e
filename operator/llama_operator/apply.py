"""Doing is a dumb walk over the plan: rotation first, then deletes, objects, pods, wishes, and what is left over.

A leader leaves the rotation before its pod is deleted. What the API server refuses becomes a hold that the user sees;
the walk goes on with the rest, so that one refused object does not stop the others.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field

from llama_operator.manifests.common import Context
from llama_operator.manifests.diff import Changes, manager_of
from llama_operator.manifests.gateway import token_secret
from llama_operator.observe.pods import mounted
from llama_operator.plan.actions import DeletePod, SetRotation
from llama_operator.plan.plan import Plan
from llama_operator.plan.reasons import Explanation
from llama_serving.config.reasons import Reason
from llama_operator.ports import (
    Capacity,
    Cluster,
    Key,
    KubeEvent,
    Manifest,
    Owner,
    Ref,
    Rejected,
    Retry,
    Supervisors,
)
from llama_serving.config.reasons import Reason

log = logging.getLogger(__name__)

REASON_LENGTH = 500  # characters of the sentence in a pod's condition
CAPACITY_AGE = 10.0  # seconds for which one list of all nodes and pods serves all loops
REFUSED_PAUSE = 10.0  # seconds; events wake the loop earlier


@dataclass
class Outcome:
    """What went wrong on the walk; empty when all was written. ``after`` in seconds, when a retry was asked for."""

    problems: list[Explanation] = field(default_factory=list)
    after: float | None = None

    def pause(self, recheck: float) -> float:
        """Seconds until the next pass: sooner when the API server said so, later when it will say no again."""
        if any(problem.reason is Reason.API_REJECTED for problem in self.problems):
            recheck = max(recheck, REFUSED_PAUSE)
        return recheck if self.after is None else min(recheck, self.after)

    async def attempt(self, what: str, call: Awaitable[None]) -> bool:
        """Await one write; True when it was accepted."""
        try:
            await call
        except Rejected as error:
            self.problems.append(Explanation(Reason.API_REJECTED, sentences.write_refused(what, said=str(error))))
            return False
        except Retry as error:
            self.problems.append(Explanation(Reason.API_RETRY, sentences.write_retried(what, said=str(error))))
            self.after = error.after if self.after is None else min(self.after, error.after)
            return False
        return True


async def apply(plan: Plan, changes: Changes, context: Context, cluster: Cluster, cells: Supervisors) -> Outcome:
    """Write what the plan and the changes say. Raises only what is a bug."""
    outcome, key = Outcome(list(changes.explanations)), context.key
    for rotation in plan.rotations:
        await outcome.attempt(f"the rotation gate of {rotation.pod}", _rotate(cluster, key, rotation))
    for delete in plan.deletes:
        await outcome.attempt(f"the delete of pod {delete.name}", _delete(cluster, key, delete))
    # Stages mount the token: without it, or with that of an earlier object, their cells would never come together.
    token = await _token(outcome, context, cluster)
    absent = await _claims(changes, context, cluster, outcome)
    for write in changes.applies:
        if write.manifest["kind"] != "Pod" or (token and not absent & mounted(write.manifest)):
            call = cluster.apply(key, write.manifest, force=write.force, manager=write.manager)
            await outcome.attempt(_title(write.manifest), call)
    if token:
        await _tell(plan, cells, token, outcome)
    for ref in changes.prunes:
        await outcome.attempt(f"the delete of {ref.kind} {ref.name}", cluster.delete(key, ref))
    for ref in changes.releases:
        call = cluster.release(key, ref, manager=manager_of(context.uid))
        await outcome.attempt(f"the release of {ref.kind} {ref.name}", call)
    return outcome


async def _claims(changes: Changes, context: Context, cluster: Cluster, outcome: Outcome) -> set[str]:
    """Make the claims; names of those that pods cannot mount."""
    absent = set()
    for claim in changes.claims:
        if not await outcome.attempt(_title(claim), cluster.ensure(context.key, claim)):
            absent.add(claim["metadata"]["name"])
    return absent


async def _token(outcome: Outcome, context: Context, cluster: Cluster) -> str:
    """The token of the cells; empty when there is none that they could share."""
    found: list[str] = []

    async def ensure() -> None:
        found.append(await cluster.ensure_token(context.key, token_secret(context)))

    await outcome.attempt("the token Secret", ensure())
    return found[0] if found else ""


async def _tell(plan: Plan, cells: Supervisors, token: str, outcome: Outcome) -> None:
    """Wishes are levels: one that was not taken is told again by the next pass."""
    refused = await asyncio.gather(*(cells.wish(item.address, item.desired, token) for item in plan.wishes))
    for item, why in zip(plan.wishes, refused, strict=True):
        if why:
            outcome.problems.append(Explanation(Reason.API_RETRY, sentences.desired_state_not_taken(item.pod, why=why)))


def _rotate(cluster: Cluster, key: Key, item: SetRotation) -> Awaitable[None]:
    ref = Ref("v1", "Pod", item.pod, item.uid)
    return cluster.set_rotation(
        key, ref, open_=item.open_, reason=item.why[:REASON_LENGTH], weights=item.weights, move=item.move
    )


def _delete(cluster: Cluster, key: Key, item: DeletePod) -> Awaitable[None]:
    return cluster.delete(key, Ref("v1", "Pod", item.name, item.uid), grace=item.grace)


def _title(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


async def write_report(owner: Owner, status: Manifest, notices: Iterable[KubeEvent], cluster: Cluster) -> None:
    """Write the status, then tell of what changed in it."""
    await cluster.write_status(owner.key, status, kind=owner.kind)
    for notice in notices:
        log.info("%s/%s %s: %s", owner.key.namespace, owner.key.name, notice.reason, notice.message)
        try:
            await cluster.record_event(owner, notice)
        except (Retry, Rejected) as error:  # an event is a courtesy: the status has it all
            log.warning("event %s of %s was not recorded: %s", notice.reason, owner.key.name, error)


async def node_capacities(cluster: Cluster) -> tuple[NodeCapacity, ...] | None:
    """What the nodes have and what is asked of them; None where it is not known."""
    try:
        return await cluster.capacity(age=CAPACITY_AGE)
    except Retry as error:  # a pass goes on without: it plans no surge, and its sentences have no amounts
        log.warning("the capacity of the nodes is not known: %s", error)
        return None
