"""kopf, and only here: watches wake loops, indices hold what they saw, one loop per object of ours.

A LlamaWeights or a LlamaAdapter wakes its own loop and those of all deployments of its namespace: they may use it.
There are only event handlers, so kopf writes nothing on any object. Loops are tasks of ours and no daemons of kopf: a
daemon needs a finalizer, and nothing outside must be undone when an object goes. With a finalizer a namespace in which
the operator is deleted too could not be deleted. That of earlier versions is removed where it is seen. Child watches
are filtered by the server. Peering is off: it is no leader election.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import kopf

from llama_operator.adapters.watching.budget import ObjectBudget
from llama_operator.adapters.watching.guard import PAGE, WatchGuard
from llama_operator.adapters.watching.pace import TIMES, Times
from llama_operator.api import ADAPTERS_PLURAL, API_GROUP, PLURAL, VERSION, WEIGHTS_PLURAL
from llama_operator.loop import Heartbeat, run_loop
from llama_operator.ports import Key
from llama_operator.reconcile import Bodies
from llama_operator.reconcile_weights import WeightsBodies
from llama_operator.scopes.listings import Listings
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
#: All kinds that are watched.
WATCHED = (*CHILDREN, *((f"{API_GROUP}/{VERSION}", plural) for plural in (PLURAL, WEIGHTS_PLURAL, ADAPTERS_PLURAL)))

OnePass = Callable[[Bodies], Awaitable[float]]
OneWeightsPass = Callable[[WeightsBodies], Awaitable[float]]
#: From the key of a loop and its object's body to one pass, given kopf's indices.
Step = Callable[[Key, Mapping[str, Any], Mapping[str, Any]], Awaitable[float]]
#: Waits for the turn of a pass in a namespace.
Turn = Callable[[str], AbstractAsyncContextManager[object]]


def _at_once(_: str) -> AbstractAsyncContextManager[object]:
    return nullcontext()


@dataclass(eq=False)
class ObjectLoop:
    """The loop of one object: what wakes it, and the object as it was seen last."""

    uid: str
    body: Mapping[str, Any]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False
    task: asyncio.Task[None] | None = None


@dataclass
class Loops:
    """The running loops of all namespaces."""

    heartbeat: Heartbeat
    turn: Turn = _at_once
    ended: Callable[[str], None] = lambda _: None  # gets the uid of an object whose loop has ended
    running: dict[Key, ObjectLoop] = field(default_factory=dict)
    ending: dict[Key, asyncio.Task[None]] = field(default_factory=dict)  # their objects are gone

    def wake(self, key: Key) -> None:
        """Wake a loop; one that does not run yet starts with a full pass anyway."""
        if key in self.running:
            self.running[key].wake.set()

    def wake_deployments(self, namespace: str) -> None:
        """Wake all loops that may use the weights of this namespace."""
        for key in self.running:
            if key.namespace == namespace and key.name.startswith(f"{PLURAL}/"):
                self.wake(key)

    def wake_namespace(self, namespace: str) -> None:
        """Wake all loops of a namespace."""
        for key in self.running:
            if key.namespace == namespace:
                self.wake(key)

    def see(self, key: Key, body: Mapping[str, Any], one_pass: Callable[[Mapping[str, Any]], Awaitable[float]]) -> None:
        """Wake the loop of this object, or begin it; another object of the same name has another uid."""
        uid, known = body["metadata"].get("uid", ""), self.running.get(key)
        if known is not None and known.uid == uid:
            known.body = body
            known.wake.set()
            return
        if known is not None:
            self.end(key, known.uid)
        loop = self.running[key] = ObjectLoop(uid, body)
        running = self._run(key, loop, one_pass, after=self.ending.get(key))
        loop.task = asyncio.create_task(running, name=f"loop of {key.namespace}/{key.name}")

    def end(self, key: Key, uid: str) -> None:
        """End the loop of an object that is no more; a pass that runs comes to its end."""
        loop = self.running.get(key)
        if loop is None or loop.uid != uid:
            return
        loop.gone = True
        loop.wake.set()
        del self.running[key]
        self.heartbeat.forget(key)
        if loop.task:
            self.ending[key] = loop.task

    async def stop(self, namespace: str = "") -> None:
        """End the loops of a namespace, or all, at once: every pass can be broken off anywhere."""
        mine = [key for key in (*self.running, *self.ending) if namespace in ("", key.namespace)]
        ended = [loop.task for key in mine if (loop := self.running.pop(key, None)) and loop.task]
        ended += [task for key in mine if (task := self.ending.pop(key, None))]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        for key in mine:
            self.heartbeat.forget(key)

    async def _run(
        self,
        key: Key,
        loop: ObjectLoop,
        one_pass: Callable[[Mapping[str, Any]], Awaitable[float]],
        *,
        after: asyncio.Task[None] | None,
    ) -> None:
        if after:  # an earlier object of this name: its last pass first
            await asyncio.wait([after])
        try:
            await run_loop(
                key,
                wake=loop.wake,
                stopped=lambda: loop.gone,
                one_pass=lambda: one_pass(loop.body),
                heartbeat=self.heartbeat,
                turn=lambda: self.turn(key.namespace),
            )
        finally:
            self.ended(loop.uid)
        if self.ending.get(key) is loop.task:
            del self.ending[key]
        if key not in self.running:
            self.heartbeat.forget(key)


@dataclass(frozen=True)
class AccessLoops:
    """The loops that hand rules of keys to gateways, one for each deployment that ``uses`` finds to have some."""

    loops: Loops
    uses: Callable[[Mapping[str, Any]], bool]
    one_pass: Callable[[Mapping[str, Any]], Awaitable[float]]

    async def deployment_changed(
        self,
        *,
        type: str | None,  # noqa: A002
        body: kopf.Body,
        namespace: str,
        name: str,
        uid: str,
        **_: Any,
    ) -> None:
        """Begin, wake or end the loop of a LlamaDeployment."""
        key = loop_key("access", namespace, name)
        if type != "DELETED" and self.uses(body):
            self.loops.see(key, dict(body), self.one_pass)
        else:
            self.loops.end(key, uid)


def build(
    registry: kopf.OperatorRegistry,
    *,
    loops: Loops,
    one_pass: OnePass,
    one_weights_pass: OneWeightsPass,
    access: AccessLoops | None = None,
    listings: Listings | None = None,
    budget: ObjectBudget | None = None,
    times: Times = TIMES,
) -> WatchGuard:
    """Register everything that kopf calls; return what stands between it and the API server."""
    if access:
        changed: Callable[..., Awaitable[None]] = access.deployment_changed
        kopf.on.event(API_GROUP, VERSION, PLURAL, registry=registry, id="access")(changed)
    login = _Login()
    guard = WatchGuard(login.headers, listings=listings or Listings(time.monotonic), budget=budget, times=times)
    kopf.on.login(registry=registry)(login.with_guard(guard))
    kopf.on.startup(registry=registry)(_configure)
    for version, plural in CHILDREN:
        kopf.index(version, plural, registry=registry, id=_index_name(plural))(_index_child)
        kopf.on.event(version, plural, registry=registry, id=f"wake-{plural}")(_child_event(loops))
    kopf.index(API_GROUP, VERSION, WEIGHTS_PLURAL, registry=registry, id="weights")(_index_weights)
    kopf.index(API_GROUP, VERSION, ADAPTERS_PLURAL, registry=registry, id="adapters")(_index_weights)
    kopf.index("v1", "configmaps", registry=registry, id="manifests")(_index_manifest)
    weights_step = _weights_step(one_weights_pass)
    steps = {PLURAL: _deployment_step(one_pass), WEIGHTS_PLURAL: weights_step, ADAPTERS_PLURAL: weights_step}
    for plural, step in steps.items():
        event = _own_event(loops, plural, step)
        kopf.on.event(API_GROUP, VERSION, plural, registry=registry, id=f"wake-{plural}")(event)
    return guard


async def watch(registry: kopf.OperatorRegistry, namespace: str, *, begun: Callable[[], None] = lambda: None) -> None:
    """Watch one namespace, or all where it is empty, until it is cancelled or a watch fails. Raises what failed.

    Several of these run in one process, so that what one namespace lacks ends the watches of no other. ``begun`` is
    called when kopf has taken the signals of the process for itself: the caller takes them back.
    """
    where: dict[str, Any] = {"namespaces": [namespace]} if namespace else {"clusterwide": True}
    tasks = await kopf.spawn_tasks(
        registry=registry,
        standalone=True,
        # Else kopf asks for the name of the user, which a pod's uid need not have.
        identity=cast(Any, names.MANAGED_BY),
        **where,
    )
    begun()
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if not task.cancelled() and (error := task.exception()):
            raise error


def loop_key(plural: str, namespace: str, name: str) -> Key:
    """Name a loop and its children in the indices: an object of the other kind may have the same name."""
    return Key(namespace, f"{plural}/{name}")


class NoDiffs(kopf.DiffBaseStorage):
    """Nobody reads kopf's differences between two states of an object, so none is computed."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return an empty state instead of a deep copy of the whole object."""
        return cast(kopf.BodyEssence, {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Return no earlier state."""
        return None

    def store(self, **_: Any) -> None:
        """Store nothing."""


class _Login:
    """The way to the API server: from the pod's service account or, outside a cluster, from KUBECONFIG."""

    def __init__(self) -> None:
        self._kwargs: dict[str, Any] = {}

    def connection(self) -> kopf.ConnectionInfo | None:
        # Without this kopf imports the synchronous kubernetes client, 20 MiB of it, to read the same two files.
        return kopf.login_with_service_account(**self._kwargs) or kopf.login_with_kubeconfig(**self._kwargs)

    def headers(self) -> Mapping[str, str]:
        """Return the headers with the token as it is now: that of a service account changes every hour."""
        info = self.connection()
        return info.as_http_headers() if info else {}

    def with_guard(self, guard: WatchGuard) -> Callable[..., Awaitable[kopf.AiohttpSession | None]]:
        """Return the login handler; the guard stands before every request of its session."""

        async def login(**kwargs: Any) -> kopf.AiohttpSession | None:
            self._kwargs = kwargs
            info = self.connection()
            if info is None:
                return None
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
                proxy=info.proxy_url,
                trust_env=info.trust_env,
                middlewares=(guard,),
            )
            return kopf.AiohttpSession(
                server=info.server, default_namespace=info.default_namespace, aiohttp_session=session
            )

        return login


def _configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    settings.persistence.finalizer = f"{API_GROUP}/finalizer"  # kopf removes it: no handler needs one
    settings.persistence.diffbase_storage = NoDiffs()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    # The guard has deadlines and pauses of its own, and knows a silent watch.
    settings.networking.request_timeout = None
    settings.networking.error_backoffs = ()
    settings.watching.inactivity_timeout = 10 * Times.silence
    settings.watching.chunk_size = PAGE
    for version, plural in CHILDREN:
        settings.watching.label_selectors[version, plural] = OWNED


#: Kinds of ours that have children, and the label of these that names their owner.
_OWNERS = (
    (PLURAL, names.LABEL_DEPLOYMENT),
    (WEIGHTS_PLURAL, names.LABEL_WEIGHTS),
    (ADAPTERS_PLURAL, names.LABEL_ADAPTER),
)
#: Labels of ConfigMaps that hold a manifest.
_MANIFESTS = (names.LABEL_WEIGHTS, names.LABEL_ADAPTER)


def _owner_of(namespace: str | None, labels: kopf.Labels) -> Key | None:
    """Return the loop that a child belongs to, by its labels."""
    for plural, label in _OWNERS:
        if name := labels.get(label):
            return loop_key(plural, namespace or "", name)
    return None


async def _index_child(body: kopf.Body, namespace: str | None, labels: kopf.Labels, **_: Any) -> object:
    owner = _owner_of(namespace, labels)
    return {owner: dict(body)} if owner else None


async def _index_weights(body: kopf.Body, namespace: str | None, **_: Any) -> object:
    return {namespace or "": dict(body)}


async def _index_manifest(body: kopf.Body, namespace: str | None, labels: kopf.Labels, **_: Any) -> object:
    return {namespace or "": dict(body)} if any(label in labels for label in _MANIFESTS) else None


def _child_event(loops: Loops) -> Callable[..., Awaitable[None]]:
    async def child_changed(body: kopf.Body, namespace: str, labels: kopf.Labels, **_: Any) -> None:
        if owner := _owner_of(namespace, labels):
            loops.wake(owner)
        if body.get("kind") == "ConfigMap" and any(label in labels for label in _MANIFESTS):
            loops.wake_deployments(namespace)  # a manifest: without it the weights are not ready

    return child_changed


def _own_event(loops: Loops, plural: str, step: Step) -> Callable[..., Awaitable[None]]:
    async def object_changed(
        *,
        type: str | None,  # noqa: A002
        body: kopf.Body,
        namespace: str,
        name: str,
        uid: str,
        **indices: Any,
    ) -> None:
        key = loop_key(plural, namespace, name)
        if type == "DELETED":
            loops.end(key, uid)
        else:
            loops.see(key, dict(body), lambda last: step(key, last, indices))
        if plural != PLURAL:
            loops.wake_deployments(namespace)

    return object_changed


def _deployment_step(one_pass: OnePass) -> Step:
    async def step(key: Key, body: Mapping[str, Any], indices: Mapping[str, Any]) -> float:
        shared = (list(indices[name].get(key.namespace, ())) for name in ("weights", "manifests", "adapters"))
        return await one_pass(Bodies(body, _children(key, indices), *shared))

    return step


def _weights_step(one_pass: OneWeightsPass) -> Step:
    async def step(key: Key, body: Mapping[str, Any], indices: Mapping[str, Any]) -> float:
        return await one_pass(WeightsBodies(body, _children(key, indices)))

    return step


def _children(key: Key, indices: Mapping[str, Any]) -> list[Any]:
    return [child for _, plural in CHILDREN for child in indices[_index_name(plural)].get(key, ())]


def _index_name(plural: str) -> str:
    return f"children_{plural}"
