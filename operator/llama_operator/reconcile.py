"""One pass, in the order that a reader expects: observe, plan, apply, report.

Every pass is a full pass; nothing is remembered between two of them.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from llama_operator.api import API_VERSION, KIND, LlamaDeploymentSpec, LlamaDeploymentStatus
from llama_operator.apply import apply
from llama_operator.manifests.changes import changes
from llama_operator.manifests.common import Context
from llama_operator.observe import Snapshot, pod_views
from llama_operator.plan.model import Plan
from llama_operator.plan.planner import plan
from llama_operator.plan.reasons import Hold
from llama_operator.plan.settings import Settings
from llama_operator.ports import CellAnswer, Cells, Cluster, Key, Owner, Rejected, Retry
from llama_operator.status import notices, report

log = logging.getLogger(__name__)

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Bodies:
    """A LlamaDeployment and its children, as the watches saw them last."""

    deployment: Body
    children: Sequence[Body]


async def reconcile(bodies: Bodies, *, cluster: Cluster, cells: Cells, settings: Settings, now: datetime) -> float:
    """Run one pass; returns the seconds until the next one is due without an event."""
    world = await _observe(bodies, cluster, cells)
    if world.deleting:
        return 30.0  # owner references remove everything; the deletion is an event
    decided = plan(world, settings, now)
    problems, after = await _act(decided, world, settings, cluster)
    await _report(decided, world, problems, cluster, now)
    return min(decided.recheck, after or decided.recheck)


async def _observe(bodies: Bodies, cluster: Cluster, cells: Cells) -> Snapshot:
    world = snapshot(bodies)
    running = [pod for pod in world.stages if pod.ip and pod.alive]
    answers: list[CellAnswer] = await asyncio.gather(*(cells.state(pod.ip) for pod in running))
    named = {pod.name: answer for pod, answer in zip(running, answers, strict=True)}
    homeless = any(pod.unscheduled or pod.gone_by for pod in world.pods)
    rooms = await cluster.rooms() if homeless else None
    return replace(world, cells=named, rooms=None if rooms is None else tuple(rooms))


def snapshot(bodies: Bodies) -> Snapshot:
    """What the watches show, before cells and nodes are asked."""
    meta = bodies.deployment["metadata"]
    pods = [child for child in bodies.children if child.get("kind") == "Pod"]
    others = [dict(child) for child in bodies.children if child.get("kind") != "Pod"]
    spec, error = _spec(bodies.deployment)
    return Snapshot(
        key=Key(meta["namespace"], meta["name"]),
        uid=meta.get("uid", ""),
        generation=meta.get("generation", 0),
        deleting="deletionTimestamp" in meta,
        spec=spec,
        spec_error=error,
        status=_status(bodies.deployment),
        pods=pod_views(pods),
        children=tuple(sorted(others, key=lambda child: (child["kind"], child["metadata"]["name"]))),
    )


def _spec(deployment: Body) -> tuple[LlamaDeploymentSpec | None, str]:
    try:
        return LlamaDeploymentSpec.model_validate(deployment.get("spec") or {}), ""
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("spec", *(str(part) for part in first["loc"])))
        return None, f"{where} is {first['input']!r}: {first['msg']}; edit the object, it was stored under older rules"


def _status(deployment: Body) -> LlamaDeploymentStatus:
    try:
        return LlamaDeploymentStatus.model_validate(deployment.get("status") or {})
    except ValidationError:
        log.warning("the status of %s was written in another form; it is made anew", deployment["metadata"]["name"])
        return LlamaDeploymentStatus()


async def _act(
    decided: Plan, world: Snapshot, settings: Settings, cluster: Cluster
) -> tuple[tuple[Hold, ...], float | None]:
    if world.spec is None:
        return (), None
    context = Context(world.key, world.uid, world.spec, settings)
    outcome = await apply(decided, changes(decided, world, context), context, cluster)
    return tuple(outcome.problems), outcome.after


async def _report(decided: Plan, world: Snapshot, problems: tuple[Hold, ...], cluster: Cluster, now: datetime) -> None:
    status = report(world, decided, problems, now)
    if status == world.status:
        return
    await cluster.write_status(world.key, status.to_api())
    owner = Owner(world.key, world.uid, API_VERSION, KIND)
    for notice in notices(world.status, status):
        log.info("%s/%s %s: %s", world.key.namespace, world.key.name, notice.reason, notice.message)
        try:
            await cluster.emit(owner, notice)
        except (Retry, Rejected) as error:  # an event is a courtesy: the status has it all
            log.warning("event %s of %s was not recorded: %s", notice.reason, world.key.name, error)
