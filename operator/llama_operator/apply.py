"""Applying is a plain walk over the plan: what gateways may use, rotation, then deletes, objects, pods, desired states,
labels, what is left over.

A leader leaves the rotation before its pod is deleted. What the API server refuses becomes an explanation that the user
sees; the walk goes on with the rest, so that one refused object does not stop the others.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

from llama_operator.manifests.changes import Changes, Write, manager_of
from llama_operator.manifests.common import Context
from llama_operator.manifests.deployment import stager_key_secret, token_secret
from llama_operator.manifests.pod_metadata import Relabel
from llama_operator.observe.pods import mounted
from llama_operator.plan.actions import DeletePod, PutDesiredState, SetAdapters, SetRotation
from llama_operator.plan.causes import refusal_words
from llama_operator.plan.plan import Plan
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import deployment as sentences
from llama_operator.ports import Cluster, Manifest, Ref, Rejected, Retry, Seal, Supervisors
from llama_serving.config import names
from llama_serving.config.reasons import Reason

REASON_LENGTH = 500  # characters of the sentence in a pod's condition
REFUSED_PAUSE = 10.0  # seconds; events wake the loop earlier


@dataclass
class Outcome:
    """What could not be written; empty when all was. ``after`` in seconds, when a retry was asked for."""

    problems: list[Explanation] = field(default_factory=list)
    after: float | None = None
    writes: int = 0  # objects that were not as the plan wants them

    def pause(self, recheck: float) -> float:
        """Return the seconds until the next pass: sooner when the API server says so, later where it refuses."""
        if any(problem.reason is Reason.API_REJECTED for problem in self.problems):
            recheck = max(recheck, REFUSED_PAUSE)
        return recheck if self.after is None else min(recheck, self.after)

    async def attempt(self, what: str, call: Awaitable[object]) -> bool:
        """Await one write; True when it was accepted."""
        try:
            await call
        except Rejected as error:
            text = sentences.write_refused(what, said=refusal_words(str(error)))
            self.problems.append(Explanation(Reason.API_REJECTED, text))
            return False
        except Retry as error:
            self.problems.append(Explanation(Reason.API_RETRY, sentences.write_retried(what, said=str(error))))
            self.after = error.after if self.after is None else min(self.after, error.after)
            return False
        return True


@dataclass(frozen=True)
class _PlanWalk:
    context: Context
    cluster: Cluster
    outcome: Outcome

    async def rotate(self, item: SetRotation) -> None:
        ref = Ref("v1", "Pod", item.pod, item.uid)
        reason = item.why[:REASON_LENGTH]
        call = self.cluster.set_rotation(
            self.context.key, ref, open_=item.open_, reason=reason, weights=item.weights, move=item.move
        )
        await self.outcome.attempt(f"the rotation gate of {item.pod}", call)

    async def announce(self, item: SetAdapters) -> None:
        ref, notes = Ref("v1", "Pod", item.pod, item.uid), {names.ANNOTATION_ADAPTERS: item.text or None}
        call = self.cluster.set_pod_metadata(self.context.key, ref, labels={}, annotations=notes)
        await self.outcome.attempt(f"the adapters of {item.pod}", call)

    async def delete_pod(self, item: DeletePod) -> None:
        call = self.cluster.delete(self.context.key, Ref("v1", "Pod", item.name, item.uid), grace=item.grace)
        await self.outcome.attempt(f"the delete of pod {item.name}", call)

    async def token(self) -> str:
        """Return the token of the cells; empty when there is none that they could share."""
        return await self._drawn("the token Secret", token_secret(self.context))

    async def stager_key(self) -> str:
        """Return the key by which stagers know desired states; empty when there is none that they could share."""
        return await self._drawn("the Secret of the stagers' key", stager_key_secret(self.context))

    async def _drawn(self, what: str, secret: Manifest) -> str:
        found: list[str] = []

        async def ensure() -> None:
            found.append(await self.cluster.ensure_token(self.context.key, secret))

        await self.outcome.attempt(what, ensure())
        return found[0] if found else ""

    async def secrets(self, secrets: tuple[Manifest, ...]) -> bool:
        """Make the Secrets unless they are there; return whether pods can mount all of them."""
        made = [await self._drawn(_title(one), one) for one in secrets]
        return all(made)

    async def claims(self, claims: tuple[Manifest, ...]) -> set[str]:
        """Create the claims; return the names of those that pods cannot mount."""
        made = {claim["metadata"]["name"]: await self._ensure(claim) for claim in claims}
        return {name for name, there in made.items() if not there}

    async def _ensure(self, claim: Manifest) -> bool:
        return await self.outcome.attempt(_title(claim), self.cluster.ensure(self.context.key, claim))

    async def write(self, write: Write) -> None:
        call = self.cluster.apply(self.context.key, write.manifest, force=write.force, manager=write.manager)
        await self.outcome.attempt(_title(write.manifest), call)

    async def tidy(self, changes: Changes) -> None:
        """Label the pods that run, and remove what nothing wants any more."""
        for relabel in changes.relabels:
            await self.relabel(relabel)
        for ref in changes.prunes:
            await self.delete(ref)
        for ref in changes.releases:
            await self.release(ref)

    async def relabel(self, item: Relabel) -> None:
        call = self.cluster.set_pod_metadata(
            self.context.key, item.pod, labels=item.labels, annotations=item.annotations
        )
        await self.outcome.attempt(f"the labels and annotations of pod {item.pod.name}", call)

    async def put(self, states: tuple[PutDesiredState, ...], supervisors: Supervisors, *, token: str, key: str) -> None:
        """Put desired states; one that was not accepted is put again by the next pass.

        ``key``: of the stagers; empty: they are not signed, which only stagers of an older operator take.
        """
        calls = (
            supervisors.put_desired_state(
                item.address, item.desired, token=token, seal=Seal(item.pod, key, item.places) if key else None
            )
            for item in states
        )
        for item, why in zip(states, await asyncio.gather(*calls), strict=True):
            if why:
                text = sentences.desired_state_not_taken(item.pod, why=why)
                self.outcome.problems.append(Explanation(Reason.API_RETRY, text))

    async def delete(self, ref: Ref) -> None:
        call = self.cluster.delete(self.context.key, ref)
        await self.outcome.attempt(f"the delete of {ref.kind} {ref.name}", call)

    async def release(self, ref: Ref) -> None:
        call = self.cluster.release(self.context.key, ref, manager=manager_of(self.context.uid))
        await self.outcome.attempt(f"the release of {ref.kind} {ref.name}", call)


async def apply(
    plan: Plan, changes: Changes, context: Context, *, cluster: Cluster, supervisors: Supervisors
) -> Outcome:
    """Write what the plan and the changes say. Raises only what is a bug."""
    walk = _PlanWalk(context, cluster, Outcome(list(changes.explanations), writes=changes.count))
    for note in plan.actions.adapters:  # before a gate opens: gateways that see the group know its adapters
        await walk.announce(note)
    for rotation in plan.actions.rotations:
        await walk.rotate(rotation)
    for delete in plan.actions.deletes:
        await walk.delete_pod(delete)
    # Stages mount the token: without it, or with that of an earlier object, their cells would never come together.
    token = await walk.token()
    makes_pods = any(write.manifest["kind"] == "Pod" for write in changes.applies)
    key = await walk.stager_key() if makes_pods or plan.actions.desired_states else ""
    keys = await walk.secrets(changes.secrets)
    absent = await walk.claims(changes.claims)
    for write in changes.applies:
        if _is_whole(write.manifest, token=token and key, keys=keys, absent=absent):
            await walk.write(write)
    if token and plan.actions.desired_states:
        await walk.put(plan.actions.desired_states, supervisors, token=token, key=key)
    await walk.tidy(changes)
    return walk.outcome


def _is_whole(manifest: Manifest, *, token: str, keys: bool, absent: set[str]) -> bool:
    """Return whether pods have what they mount: one that is written without it waits, and nobody makes it later."""
    if manifest["kind"] == "Deployment":
        return keys
    return manifest["kind"] != "Pod" or (token != "" and keys and not absent & mounted(manifest))


def _title(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"
