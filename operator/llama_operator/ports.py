"""The edges of the operator: the API server, the supervisors of the stages, the gateways, and nothing else.

Every failure of an edge is one of three kinds: ``Retry`` (try again later), ``Rejected`` (will not work until the
spec or the cluster's policy changes; shown to the user) or any other exception, which is a bug and is let fly.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from llama_operator.api import KIND
from llama_serving.config.access.rules import AccessKey
from llama_serving.config.desired import DesiredState
from llama_serving.config.gateway import GatewayLoad
from llama_serving.config.state import CellState

#: The most events that are read about one object.
EVENTS = 20

Manifest = dict[str, Any]
"""A Kubernetes object as the API server takes it."""


#: Key of an object that is shown without its content; its value says why, as a clause.
LEFT_OUT: Final = "leftOut"


class Retry(Exception):
    """The edge could not do it now: a conflict, a time-out, 429 or 5xx."""

    def __init__(self, message: str, *, after: float = 1.0) -> None:
        super().__init__(message)
        self.after = after  # seconds


class Rejected(Exception):
    """The API server refused an object of ours; the message is for the user."""


class Forbidden(Rejected):
    """The API server answered 403: a right is missing, or a policy of the cluster is against it."""


@dataclass(frozen=True, order=True)
class Key:
    """A LlamaDeployment."""

    namespace: str
    name: str


@dataclass(frozen=True, order=True)
class Ref:
    """A child object. ``uid`` is a precondition of a delete: another object of the same name is left alone."""

    api_version: str
    kind: str
    name: str
    uid: str = ""


@dataclass(frozen=True)
class KubeEvent:
    """An event for ``kubectl describe``."""

    warning: bool
    reason: str
    message: str


@dataclass(frozen=True)
class SeenEvent:
    """What others recorded about an object of ours: scheduler, kubelet, controllers. ``at``: when it last happened."""

    reason: str
    message: str
    at: datetime


@dataclass(frozen=True)
class Owner:
    """What an event and an owner reference name."""

    key: Key
    uid: str
    api_version: str
    kind: str


@dataclass(frozen=True)
class PodRequest:
    """A pod of the cluster, ours or not, as the scheduler sees it."""

    namespace: str
    name: str
    uid: str
    requests: Mapping[str, float] = field(default_factory=dict)
    priority: int = 0
    priority_class: str = ""
    node: str = ""
    gated: bool = False  # the scheduler does not look at it yet
    refused: bool = False  # the scheduler found no node for it
    ours: bool = False  # a stage of a LlamaDeployment
    preempts: bool = True  # may displace pods of a lower priority
    one_per_node: bool = False  # not on a node with another stage of its group
    node_selector: Mapping[str, str] = field(default_factory=dict)
    node_terms: tuple[Mapping[str, Any], ...] = ()  # required node affinity: one of these terms
    tolerations: tuple[Mapping[str, Any], ...] = ()
    kept_from: frozenset[str] = frozenset()  # names of nodes that it must not go to


@dataclass(frozen=True)
class NodeCapacity:
    """What a node has and what its pods ask for: resource name -> amount (cores, bytes, devices)."""

    name: str
    labels: Mapping[str, str]
    ready: bool
    schedulable: bool
    allocatable: Mapping[str, float]
    requested: Mapping[str, float]
    taints: tuple[Mapping[str, str], ...] = ()
    pods: tuple[PodRequest, ...] = ()  # the pods on it
    device_fault: str = ""  # what others say against its GPUs


@dataclass(frozen=True)
class Capacity:
    """The nodes at one moment, and the pods that have none yet."""

    nodes: tuple[NodeCapacity, ...]
    waiting: tuple[PodRequest, ...] = ()


@dataclass(frozen=True)
class QuotaScope:
    """Which pods a ResourceQuota counts, such as those of some PriorityClasses."""

    name: str
    operator: str = "Exists"
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quota:
    """A ResourceQuota: what a namespace may have and what it has, resource name -> amount (cores, bytes, objects)."""

    name: str
    hard: Mapping[str, float]
    used: Mapping[str, float]
    scopes: tuple[QuotaScope, ...] = ()  # it counts only pods to which all of them apply


@dataclass(frozen=True)
class KeySecret:
    """A Secret that holds a key of a client, as it was read. The key itself is not kept.

    ``rule``: what the key may do; None, and ``fault`` says why as a clause, where it may not call.
    """

    name: str
    created: str  # as the API server writes it, so that the order of texts is the order of times
    labels: Mapping[str, str]
    rule: AccessKey | None
    fault: str = ""


@dataclass(frozen=True)
class RulesSecret:
    """A Secret of the operator's own, which the gateways of a deployment watch."""

    name: str
    uid: str
    owners: frozenset[str]  # uids of its ownerReferences
    digest: str  # its annotation ANNOTATION_DIGEST
    content: str  # SHA-256 of the rules as they stand in its data


@dataclass(frozen=True)
class AccessSecrets:
    """The Secrets of a namespace with the label LABEL_ACCESS_KEY, as a watch shows them."""

    keys: tuple[KeySecret, ...] = ()  # by name
    rules: Mapping[str, RulesSecret] = field(default_factory=dict)  # by name
    left_out: int = 0  # Secrets beyond those that are kept of a namespace
    denied: str = ""  # the API server's words, where they may not be watched; what was seen before stays


@dataclass(frozen=True)
class SupervisorAnswer:
    """What a stage's supervisor said, or why it could not be heard."""

    state: CellState | None
    error: str = ""
    size: int = 0  # bytes that it had


@dataclass(frozen=True)
class Lease:
    """Who may write in a namespace, as it is stored. ``version`` is empty for one that is not stored yet."""

    holder: str  # empty: nobody
    seconds: float  # without a renewal after which others may take it
    version: str = ""
    transitions: int = 0  # how often the holder has changed


class Leases(Protocol):
    """The leases of the namespaces (coordination.k8s.io); each has one, of one name."""

    async def read(self, namespace: str) -> Lease | None:
        """Return the lease as it is stored now."""

    async def write(self, namespace: str, lease: Lease) -> Lease:
        """Create it, or replace the version that it names, with the time of now. Raises Retry after a conflict."""

    async def changed(self, namespace: str, lease: Lease, *, seconds: float) -> None:
        """Return when it is no more what it was, or after so many seconds."""


@dataclass(frozen=True)
class Obstacles:
    """What keeps a namespace from being watched, one sentence each. ``closed``: nothing at all may be seen there."""

    sentences: tuple[str, ...] = ()
    closed: bool = False


class Scopes(Protocol):
    """What the operator needs before it can serve a namespace; an empty one stands for all."""

    async def obstacles(self, namespace: str, kinds: Sequence[tuple[str, str]]) -> Obstacles:
        """Find what keeps these kinds (group and version, plural) from being watched.

        Raises Retry where the API server does not say.
        """

    async def objects(self, namespace: str) -> Sequence[Manifest]:
        """List the LlamaDeployments and LlamaWeights; none where that is not allowed."""


class Cluster(Protocol):
    """The API server, in one namespace."""

    async def apply(self, key: Key, manifest: Manifest, *, force: bool, manager: str = "") -> str:
        """Create or update an object by server-side apply. Raises Retry or Rejected.

        Returns its resourceVersion since; empty where that is not known, as do the other writes that return one.

        With ``force``, fields that somebody else changed are taken over; without, they are refused. ``manager`` is
        the field manager of an object that several deployments share; empty is the operator's own.
        """

    async def try_apply(self, key: Key, manifest: Manifest) -> None:
        """Ask whether the object would be taken (``dryRun=All``); nothing is stored. Raises Retry or Rejected."""

    async def ensure(self, key: Key, manifest: Manifest) -> None:
        """Create the object unless it is there; never changes one. Rejected when it belongs to somebody else."""

    async def release(self, key: Key, ref: Ref, *, manager: str) -> None:
        """Let go of a shared object: what ``manager`` applied, its owner reference with it, is withdrawn.

        An object of ours that then has no owner left is deleted. One that is gone, or is another one (uid), counts as
        success.
        """

    async def delete(self, key: Key, ref: Ref, *, grace: int | None = None) -> None:
        """Delete; an object that is gone, or is another one (uid), counts as success. ``grace`` in seconds."""

    async def set_rotation(
        self, key: Key, pod: Ref, *, open_: bool, reason: str, weights: str, move: bool = False
    ) -> str:
        """Set the pod's rotation gate and, where not empty, its weights annotation.

        ``move`` tells the gateways to move streams that still run to other groups, until the gate opens again.
        """

    async def set_pod_metadata(
        self, key: Key, pod: Ref, *, labels: Mapping[str, str | None], annotations: Mapping[str, str | None]
    ) -> str:
        """Set labels and annotations of a pod; None removes one, and the others stay.

        A pod that is gone, or is another one (uid), counts as success. Raises Retry or Rejected.
        """

    async def ensure_token(self, key: Key, manifest: Manifest) -> str:
        """Return the token in this Secret, which is created with a random one unless it exists; never changes one."""

    async def write_status(self, key: Key, status: Manifest, *, kind: str = KIND) -> str:
        """Replace the status of the LlamaDeployment, or of the LlamaWeights. One that is gone counts as success."""

    async def record_event(self, owner: Owner, event: KubeEvent) -> None:
        """Record an event; the same reason and message again raises its count."""

    async def capacity(self) -> Capacity | None:
        """Return the nodes and all pods as the watches show them, reserved capacity counted as given.

        None where the operator may not watch nodes and pods of the cluster. Raises Retry while they are not known.
        """

    async def events_about(self, key: Key, about: Ref) -> tuple[SeenEvent, ...]:
        """List what was recorded about the object with exactly this uid, the newest first, at most EVENTS of them.

        The API server selects them: events of other objects are never sent. Raises Retry or Rejected.
        """

    async def look_up(self, key: Key, ref: Ref) -> Manifest | None:
        """Read an object that a pod of ours names; None where it does not exist. Raises Retry or Rejected.

        Of a Secret and a ConfigMap only the metadata are asked for: their content never comes here.
        """

    async def config_map_data(self, key: Key, name: str) -> Mapping[str, str] | None:
        """Read the texts in a ConfigMap that the spec names for its content; None where it does not exist.

        The API server holds at most 1 MiB in one. Raises Retry or Rejected.
        """

    async def access_secrets(self, key: Key) -> AccessSecrets:
        """Return the Secrets of the namespace with keys of clients and rules of gateways, as a watch shows them.

        Whoever made the port is told of each change. Raises Retry while they are not known.
        """

    async def has_kind(self, api_version: str, kind: str) -> bool:
        """Tell whether the API server has this kind; that of a CRD comes with the CRD. Raises Retry or Rejected."""

    async def quotas(self, key: Key) -> tuple[Quota, ...]:
        """List the ResourceQuotas of the namespace, by name. Raises Retry or Rejected."""

    def reserve(self, pods: Iterable[PodRequest]) -> None:
        """Count the capacity of these pods as given until the watches show that their gates are gone."""

    def unreserve(self, uids: Collection[str]) -> None:
        """Take back what was reserved for the pods with these uids."""

    async def admit(self, key: Key, pod: Ref, *, at: datetime) -> str:
        """Remove our scheduling gate from this pod, and note when. Without the gate, or the pod, it is done already."""


@dataclass(frozen=True)
class Seal:
    """How a desired state is signed for one stager (``config.trust.signature``)."""

    pod: str
    key: str = field(repr=False)
    places: tuple[str, ...] = ()


class Supervisors(Protocol):
    """The supervisors of the stages."""

    async def state(self, address: str) -> SupervisorAnswer:
        """Ask the supervisor at this pod IP. Never raises for an unreachable pod: that is an answer too."""

    async def accepts(self, address: str, port: int) -> bool:
        """Return whether a connection to this port of the pod is accepted; it is closed at once. Never raises."""

    async def put_desired_state(
        self, address: str, desired: DesiredState, *, token: str, seal: Seal | None = None
    ) -> str:
        """Tell the supervisor at this pod IP what its group shall serve; empty, or why it was not accepted.

        ``seal``: how it is signed for the pod's stager; None: it is not.
        """


class Gateways(Protocol):
    """The gateway pods."""

    async def load(self, address: str, *, start: float | None = None) -> GatewayLoad | None:
        """Ask the gateway at this pod IP what it has in flight and has counted; None when it could not be asked.

        ``start`` tells it in how many seconds a group is expected to serve, which its clients are told in Retry-After.
        """
