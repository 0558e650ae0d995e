"""kopf, and only here: watches wake loops, indices hold what they saw, one daemon per object of ours is its loop.

A LlamaWeights wakes its own loop and those of all deployments of its namespace: they may use it. No change handlers,
so kopf writes nothing on any object but its finalizer on ours. Child watches are filtered by the server. Peering is
off: it is no leader election; the chart runs one replica with strategy Recreate.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import kopf

from llama_operator.api import API_GROUP, PLURAL, VERSION, WEIGHTS_PLURAL
from llama_operator.loop import Heartbeat, run_loop
from llama_operator.ports import Key
from llama_operator.reconcile import Bodies
from llama_operator.reconcile_weights import WeightsBodies
from llama_serving.config import names

OWNED = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"

#: Kinds of children: group and version as kopf's selectors take them, and the plural.
CHILDREN = (
    ("v1", "pods"),
    ("v1", "services"),
    ("v1", "configmaps"),
    ("v1", "serviceaccounts"),
    ("v1", "persistentvolumeclaims"),
    ("apps/v1", "deployments"),
    ("batch/v1", "jobs"),
    ("policy/v1", "poddisruptionbudgets"),
    ("networking.k8s.io/v1", "networkpolicies"),
    ("rbac.authorization.k8s.io/v1", "roles"),
    ("rbac.authorization.k8s.io/v1", "rolebindings"),
)

OnePass = Callable[[Bodies], Awaitable[float]]
OneWeightsPass = Callable[[WeightsBodies], Awaitable[float]]
#: From the key of a loop and its object's body to one pass, given kopf's indices.
Step = Callable[[Key, kopf.Body, Mapping[str, Any]], Awaitable[float]]


@dataclass(eq=False)
class WakeFlag:
    """What wakes one loop. ``gone``: the object was deleted without our finalizer; kopf would let the loop run on."""

    uid: str
    event: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False


@dataclass(frozen=True)
class LoopEnd:
    """Who hears that a loop has ended."""

    heartbeat: Heartbeat
    ended: Callable[[str], None]  # with the uid of its object


@dataclass
class WakeFlags:
    """The wake flags of the running loops."""

    flags: dict[Key, WakeFlag] = field(default_factory=dict)

    def wake(self, key: Key) -> None:
        """Wake a loop; one that does not run yet starts with a full pass anyway."""
        if key in self.flags:
            self.flags[key].event.set()

    def wake_deployments(self, namespace: str) -> None:
        """Wake all loops that may use the weights of this namespace."""
        for key in self.flags:
            if key.namespace == namespace and key.name.startswith(f"{PLURAL}/"):
                self.wake(key)

    def end(self, key: Key, uid: str) -> None:
        """End the loop of an object that is no more; another one of the same name has another uid."""
        flag = self.flags.get(key)
        if flag and flag.uid == uid:
            flag.gone = True
            flag.event.set()

    def leave(self, key: Key, flag: WakeFlag) -> bool:
        """Forget a loop that has ended; False when a later one of the same name has taken its place."""
        if self.flags.get(key) is not flag:
            return False
        del self.flags[key]
        return True


def build(
    registry: kopf.OperatorRegistry,
    *,
    one_pass: OnePass,
    one_weights_pass: OneWeightsPass,
    heartbeat: Heartbeat,
    ended: Callable[[str], None] = lambda _: None,
) -> None:
    """Register everything that kopf calls. ``ended`` gets the uid of an object whose loop has ended."""
    wakes = WakeFlags()
    kopf.on.login(registry=registry)(_login)
    kopf.on.startup(registry=registry)(_configure)
    for version, plural in CHILDREN:
        kopf.index(version, plural, registry=registry, id=_index_name(plural))(_index_child)
        kopf.on.event(version, plural, registry=registry, id=f"wake-{plural}")(_child_event(wakes))
    kopf.index(API_GROUP, VERSION, WEIGHTS_PLURAL, registry=registry, id="weights")(_index_weights)
    kopf.index("v1", "configmaps", registry=registry, id="manifests")(_index_manifest)
    for plural, step in ((PLURAL, _deployment_step(one_pass)), (WEIGHTS_PLURAL, _weights_step(one_weights_pass))):
        kopf.on.event(API_GROUP, VERSION, plural, registry=registry, id=f"wake-{plural}")(_own_event(wakes, plural))
        kopf.daemon(
            API_GROUP, VERSION, plural, registry=registry, id=f"loop-{plural}",
            cancellation_backoff=2.0, cancellation_timeout=5.0,
        )(_loop(wakes, plural, step=step, ends=LoopEnd(heartbeat, ended)))  # fmt: skip


def loop_key(plural: str, namespace: str, name: str) -> Key:
    """Name a loop, its flag and its children in the indices: an object of the other kind may have the same name."""
    return Key(namespace, f"{plural}/{name}")


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    # Without this kopf imports the synchronous kubernetes client, 20 MiB of it, to read the same two files.
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    # A loop ends within its floor. Without this kopf looks again only after cancellation_backoff: a slow delete.
    settings.background.instant_exit_timeout = 1.5
    settings.persistence.finalizer = f"{API_GROUP}/finalizer"
    settings.peering.standalone = True
    settings.scanning.disabled = True
    for version, plural in CHILDREN:
        settings.watching.label_selectors[version, plural] = OWNED


def _owner_of(namespace: str | None, labels: kopf.Labels) -> Key | None:
    """Return the loop that a child belongs to, by its labels."""
    for plural, label in ((PLURAL, names.LABEL_DEPLOYMENT), (WEIGHTS_PLURAL, names.LABEL_WEIGHTS)):
        if name := labels.get(label):
            return loop_key(plural, namespace or "", name)
    return None


async def _index_child(body: kopf.Body, namespace: str | None, labels: kopf.Labels, **_: Any) -> object:
    owner = _owner_of(namespace, labels)
    return {owner: dict(body)} if owner else None


async def _index_weights(body: kopf.Body, namespace: str | None, **_: Any) -> object:
    return {namespace or "": dict(body)}


async def _index_manifest(body: kopf.Body, namespace: str | None, labels: kopf.Labels, **_: Any) -> object:
    return {namespace or "": dict(body)} if names.LABEL_WEIGHTS in labels else None


def _child_event(wakes: WakeFlags) -> Callable[..., Awaitable[None]]:
    async def child_changed(body: kopf.Body, namespace: str, labels: kopf.Labels, **_: Any) -> None:
        if owner := _owner_of(namespace, labels):
            wakes.wake(owner)
        if body.get("kind") == "ConfigMap" and names.LABEL_WEIGHTS in labels:
            wakes.wake_deployments(namespace)  # a manifest: without it the weights are not ready

    return child_changed


def _own_event(wakes: WakeFlags, plural: str) -> Callable[..., Awaitable[None]]:
    async def object_changed(*, type: str | None, namespace: str, name: str, uid: str, **_: Any) -> None:  # noqa: A002
        key = loop_key(plural, namespace, name)
        if type == "DELETED":
            wakes.end(key, uid)
        else:
            wakes.wake(key)
        if plural == WEIGHTS_PLURAL:
            wakes.wake_deployments(namespace)

    return object_changed


def _deployment_step(one_pass: OnePass) -> Step:
    async def step(key: Key, body: kopf.Body, indices: Mapping[str, Any]) -> float:
        weights, manifests = (list(indices[name].get(key.namespace, ())) for name in ("weights", "manifests"))
        return await one_pass(Bodies(dict(body), _children(key, indices), weights, manifests))

    return step


def _weights_step(one_pass: OneWeightsPass) -> Step:
    async def step(key: Key, body: kopf.Body, indices: Mapping[str, Any]) -> float:
        return await one_pass(WeightsBodies(dict(body), _children(key, indices)))

    return step


def _children(key: Key, indices: Mapping[str, Any]) -> list[Any]:
    return [child for _, plural in CHILDREN for child in indices[_index_name(plural)].get(key, ())]


def _loop(wakes: WakeFlags, plural: str, *, step: Step, ends: LoopEnd) -> Callable[..., Awaitable[None]]:
    async def loop(
        *, namespace: str, name: str, uid: str, body: kopf.Body, stopped: kopf.DaemonStopped, **kwargs: Any
    ) -> None:
        key = loop_key(plural, namespace, name)
        flag = wakes.flags[key] = WakeFlag(uid)
        ending = asyncio.create_task(_wake_when_stopped(stopped, flag.event))
        try:
            await run_loop(
                key,
                wake=flag.event,
                stopped=lambda: bool(stopped) or flag.gone,
                one_pass=lambda: step(key, body, kwargs),
                heartbeat=ends.heartbeat,
            )
        finally:
            ending.cancel()
            ends.ended(uid)
            if wakes.leave(key, flag):
                ends.heartbeat.forget(key)

    return loop


async def _wake_when_stopped(stopped: kopf.DaemonStopped, wake: asyncio.Event) -> None:
    await stopped.wait()
    wake.set()


def _index_name(plural: str) -> str:
    return f"children_{plural}"
