"""kopf, and only here: watches wake loops, an index holds the children, one daemon per LlamaDeployment is its loop.

No change handlers, so kopf writes nothing on any object but its finalizer on LlamaDeployments. Child watches are
filtered by the server. Peering is off: it is no leader election; the chart runs one replica with strategy Recreate.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import kopf

from llama_operator.api import API_GROUP, PLURAL, VERSION
from llama_operator.loop import Pulse, run_loop
from llama_operator.ports import Key
from llama_operator.reconcile import Bodies
from llama_serving.config import names

OWNED = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"

#: Kinds of children: group and version as kopf's selectors take them, and the plural.
CHILDREN = (
    ("v1", "pods"),
    ("v1", "services"),
    ("v1", "configmaps"),
    ("v1", "serviceaccounts"),
    ("apps/v1", "deployments"),
    ("policy/v1", "poddisruptionbudgets"),
    ("networking.k8s.io/v1", "networkpolicies"),
    ("rbac.authorization.k8s.io/v1", "roles"),
    ("rbac.authorization.k8s.io/v1", "rolebindings"),
)

OnePass = Callable[[Bodies], Awaitable[float]]


@dataclass(eq=False)
class Alarm:
    """What wakes one loop. ``gone``: the object was deleted without our finalizer; kopf would let the loop run on."""

    uid: str
    event: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False


@dataclass
class Wakes:
    """The alarms of the running loops."""

    alarms: dict[Key, Alarm] = field(default_factory=dict)

    def wake(self, key: Key) -> None:
        """Wake a loop; one that does not run yet starts with a full pass anyway."""
        if key in self.alarms:
            self.alarms[key].event.set()

    def end(self, key: Key, uid: str) -> None:
        """The object is no more; another one of the same name has another uid."""
        alarm = self.alarms.get(key)
        if alarm and alarm.uid == uid:
            alarm.gone = True
            alarm.event.set()

    def leave(self, key: Key, alarm: Alarm) -> bool:
        """The loop has ended; False when a later one of the same name has taken its place."""
        if self.alarms.get(key) is not alarm:
            return False
        del self.alarms[key]
        return True


def build(registry: kopf.OperatorRegistry, one_pass: OnePass, pulse: Pulse) -> None:
    """Register everything that kopf calls."""
    wakes = Wakes()
    kopf.on.login(registry=registry)(_login)
    kopf.on.startup(registry=registry)(_configure)
    for version, plural in CHILDREN:
        kopf.index(version, plural, registry=registry, id=_index_name(plural))(_index_child)
        kopf.on.event(version, plural, registry=registry, id=f"wake-{plural}")(_child_event(wakes))
    kopf.on.event(API_GROUP, VERSION, PLURAL, registry=registry, id="wake")(_own_event(wakes))
    kopf.daemon(
        API_GROUP, VERSION, PLURAL, registry=registry, id="loop", cancellation_backoff=2.0, cancellation_timeout=5.0
    )(_loop(wakes, one_pass, pulse))


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


async def _index_child(body: kopf.Body, namespace: str | None, labels: kopf.Labels, **_: Any) -> object:
    owner = labels.get(names.LABEL_DEPLOYMENT)
    return {Key(namespace or "", owner): dict(body)} if owner else None


def _child_event(wakes: Wakes) -> Callable[..., Awaitable[None]]:
    async def child_changed(namespace: str, labels: kopf.Labels, **_: Any) -> None:
        wakes.wake(Key(namespace, labels.get(names.LABEL_DEPLOYMENT, "")))

    return child_changed


def _own_event(wakes: Wakes) -> Callable[..., Awaitable[None]]:
    async def deployment_changed(type: str | None, namespace: str, name: str, uid: str, **_: Any) -> None:  # noqa: A002
        if type == "DELETED":
            wakes.end(Key(namespace, name), uid)
        else:
            wakes.wake(Key(namespace, name))

    return deployment_changed


def _loop(wakes: Wakes, one_pass: OnePass, pulse: Pulse) -> Callable[..., Awaitable[None]]:
    async def loop(
        namespace: str, name: str, uid: str, body: kopf.Body, stopped: kopf.DaemonStopped, **kwargs: Any
    ) -> None:
        key = Key(namespace, name)
        indices = [kwargs[_index_name(plural)] for _, plural in CHILDREN]
        alarm = wakes.alarms[key] = Alarm(uid)

        async def step() -> float:
            children = [child for index in indices for child in index.get(key, ())]
            return await one_pass(Bodies(dict(body), children))

        ending = asyncio.create_task(_wake_when_stopped(stopped, alarm.event))
        try:
            await run_loop(
                key, wake=alarm.event, stopped=lambda: bool(stopped) or alarm.gone, one_pass=step, pulse=pulse
            )
        finally:
            ending.cancel()
            if wakes.leave(key, alarm):
                pulse.forget(key)

    return loop


async def _wake_when_stopped(stopped: kopf.DaemonStopped, wake: asyncio.Event) -> None:
    await stopped.wait()
    wake.set()


def _index_name(plural: str) -> str:
    return f"children_{plural}"
