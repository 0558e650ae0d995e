"""One LlamaDeployment and everything of it that was seen: what one pass of the loop knows, and all it knows.

kopf's bodies change while a pass runs, so a pass starts by turning them into frozen views. Nothing is decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llama_operator.api import LlamaDeploymentSpec, LlamaDeploymentStatus
from llama_operator.observe.exposure import ExposureView
from llama_operator.observe.pods import PodView
from llama_operator.observe.rehearsal import RehearsalView
from llama_operator.ports import AccessSecrets, Capacity, Key, Manifest, SupervisorAnswer
from llama_serving.config import names
from llama_serving.config import weights as weights_manifest
from llama_serving.config.access.rules import access_secret
from llama_serving.config.chat.facts import ChatFacts
from llama_serving.config.desired import GoldenPrompt
from llama_serving.config.gateway import GatewayLoad
from llama_serving.config.model import AdapterFacts, ModelFacts


@dataclass(frozen=True)
class WeightsView:
    """A LlamaWeights of the namespace, whoever made it."""

    name: str
    source: str
    revision: str  # as its spec names it
    resolved: str  # what the source says that is: a commit, a digest; empty before it is known
    ready: bool
    digest: str
    facts: ModelFacts | None
    manifest: weights_manifest.Manifest | None
    reason: str
    message: str
    refused: bool
    uid: str = ""
    owners: frozenset[str] = frozenset()  # uids of its ownerReferences
    chat: ChatFacts | None = None  # None: an older version resolved them
    ours: bool = False  # a deployment made it; one that a user made is used and otherwise left alone
    content: str = ""  # hash of what names the weights: see api.content_of
    resolver_settings: str = ""  # how they are resolved: see observe/weights.py


@dataclass(frozen=True)
class ChatTemplateView:
    """The ConfigMap of ``model.chatTemplate``, where no chat template could be read from it."""

    absent: bool = False  # there is no such ConfigMap
    denied: str = ""  # the API server's words, where it may not be read
    size: int | None = None  # bytes under the key, too many or none; None: it has no such key


@dataclass(frozen=True)
class PolicyTrial:
    """A connection that a NetworkPolicy forbids was tried; see inquiry/wall_probe.py."""

    pod: str
    port: int
    accepted: bool


@dataclass(frozen=True)
class AdapterView:
    """A LlamaAdapter of the namespace."""

    name: str
    served_name: str  # in the OpenAI API, where a selector finds it
    labels: Mapping[str, str]
    source: str
    revision: str  # as its spec names it
    resolved: str  # what the source says that is; empty before it is known
    credentials_secret: str
    service_account: str
    ready: bool
    digest: str
    facts: AdapterFacts | None
    manifest: weights_manifest.Manifest | None
    golden: tuple[GoldenPrompt, ...]
    reason: str
    message: str
    refused: bool


@dataclass(frozen=True)
class Snapshot:
    """One LlamaDeployment and everything of it that was seen in this pass."""

    key: Key
    uid: str
    generation: int
    deleting: bool
    spec: LlamaDeploymentSpec | None  # None: stored in a form that today's rules refuse; see spec_error
    spec_error: str
    status: LlamaDeploymentStatus
    pods: tuple[PodView, ...]
    children: tuple[Manifest, ...]  # every other object of ours, whole
    cells: Mapping[str, SupervisorAnswer] = field(default_factory=dict)  # by pod name
    capacity: Capacity | None = None  # None: not listed in this pass, or not allowed to
    foreign: frozenset[tuple[str, str]] = frozenset()  # kind and name: has our labels, belongs to another object
    left_out: Mapping[tuple[str, str], str] = field(default_factory=dict)  # ours without content, and why; kind, name
    weights: Mapping[str, WeightsView] = field(default_factory=dict)  # by name
    chat_template: ChatTemplateView | None = None  # None: the spec names none, or its text is in the spec
    adapters: Mapping[str, AdapterView] = field(default_factory=dict)  # by name of the LlamaAdapter
    rehearsal: RehearsalView = field(default_factory=RehearsalView)
    policy_trial: PolicyTrial | None = None  # None: none since this process began
    loads: Mapping[str, GatewayLoad | None] = field(default_factory=dict)  # by gateway pod; None: it could not be asked
    access: AccessSecrets | None = None  # None: the spec asks for no keys, or they are not known yet
    access_fault: str = ""  # why the rules for gateways could not be written
    exposure: ExposureView = field(default_factory=ExposureView)

    @property
    def has_access_rules(self) -> bool:
        """Whether the Secret with rules for its gateways is there."""
        seen = self.access.rules.get(access_secret(self.key.name)) if self.access else None
        return seen is not None and self.uid in seen.owners

    @property
    def stages(self) -> tuple[PodView, ...]:
        """Pods of groups, in the order of group, pod hash and stage; one without its labels belongs to none."""
        found = (pod for pod in self.pods if pod.component == names.COMPONENT_STAGE and min(pod.group, pod.stage) >= 0)
        return tuple(sorted(found, key=lambda pod: (pod.group, pod.pod_hash, pod.stage)))

    @property
    def gateways(self) -> tuple[PodView, ...]:
        """Pods of the gateway's Deployment."""
        return tuple(pod for pod in self.pods if pod.component == names.COMPONENT_GATEWAY)
