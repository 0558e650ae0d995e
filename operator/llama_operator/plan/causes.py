"""What is said of a cause: its reason, its sentence, and whether it may end without anybody.

A cause names objects as Kubernetes does; a user knows the fields of the spec. ``field_of`` goes from the pod's volume
to the field that names what is mounted there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from llama_operator.observe.causes.cause import CauseKind, PodCause
from llama_operator.observe.causes.kubelet import claim_cause
from llama_operator.observe.causes.refusals import refusal_cause
from llama_operator.observe.findings import (
    CLAIM,
    CLAIM_TEMPLATE,
    CONFIG_MAP,
    PULL,
    SECRET,
    SERVICE_ACCOUNT,
    Reference,
    UnboundClaim,
)
from llama_operator.observe.pods import PodView
from llama_operator.plan.naming import claim_name
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import causes as sentences
from llama_operator.plan.sentences import images as image_sentences
from llama_operator.plan.sentences import refusals as refusal_sentences
from llama_operator.ports import Manifest
from llama_serving.config.reasons import Reason
from llama_serving.config.wording import clause, rough_seconds

LONGEST: Final = 300  # characters of what somebody else said
#: Fields of a LlamaDeployment that name weights have this before them; in a LlamaWeights they stand alone.
OF_MODEL: Final = "model."

_MADE_CLAIM: Final = "staging.volumeClaimTemplate"

#: Objects of the cluster, which have no namespace, and the fields that name them.
_CLASS_FIELDS: Final[Mapping[str, str]] = {
    "PriorityClass": "placement.priorityClassName",
    "RuntimeClass": "placement.runtimeClassName",
}
_ACCOUNT_FIELD: Final = "model.serviceAccountName"
#: Ends of the names of accounts that the operator makes.
_OWN_ACCOUNTS: Final = ("-stages", "-gateway", "-resolver")


@dataclass(frozen=True)
class Speech:
    """A cause that is said of a pod. ``prefix`` stands before the fields of weights."""

    pod: PodView
    cause: PodCause
    now: datetime
    prefix: str = OF_MODEL

    @property
    def said(self) -> str:
        """Words of others that belong to the cause, shortened."""
        return clause(self.cause.said, LONGEST)

    @property
    def image(self) -> str:
        """Image of the container that waits."""
        found = self.pod.waiting.image if self.pod.waiting else ""
        return found or "the image"

    @property
    def image_field(self) -> str:
        """Field that names that image."""
        serving = self.pod.waiting is not None and self.pod.waiting.container in SERVING_CONTAINERS
        return "images.serving" if serving else "images.gateway"

    @property
    def field(self) -> str:
        """Field that names the cause's object; empty for one that the operator makes."""
        return self.field_of(self.cause.name)

    @property
    def waited(self) -> str:
        """How long the pod exists."""
        return rough_seconds((self.now - self.pod.created).total_seconds())

    def field_of(self, name: str) -> str:
        """Return the field that names an object of this name, which the pod needs."""
        found = self._named(name)
        return field_of(found, self.pod, self.prefix) if found else ""

    @property
    def is_own(self) -> bool:
        """Whether the operator makes the cause's object: it makes it again."""
        if self.cause.what == SERVICE_ACCOUNT:
            return self.cause.name.endswith(_OWN_ACCOUNTS)
        return not self.field and self._named(self.cause.name) is not None

    def _named(self, name: str) -> Reference | None:
        kinds = (self.cause.what,) if self.cause.what else (SECRET, CONFIG_MAP, CLAIM)
        return next((one for one in self.pod.references if one.name == name and one.kind in kinds), None)

    def mounted(self, volume: str) -> Reference:
        """Return what the pod mounts as this volume."""
        found = next((one for one in self.pod.references if one.use == volume), None)
        return found or Reference("", volume, volume)


#: Containers that run the serving image: of a stage, and of the rehearsal of one.
SERVING_CONTAINERS: Final = ("stage", "rehearsal")


@dataclass(frozen=True)
class Saying:
    """How a cause is said."""

    reason: Reason
    text: Callable[[Speech], str]
    passing: bool = False  # it may end without anybody


def field_of(reference: Reference, pod: PodView, prefix: str = OF_MODEL) -> str:
    """Return the field of the spec that names this object; empty where the operator names it itself."""
    if reference.use == PULL:
        return "images.pullSecrets"
    if reference.kind == SECRET and reference.use == "credentials":
        return f"{prefix}credentialsSecret"
    if reference.kind == SECRET and reference.use == "tls":
        return "gateway.tls.secretName"
    if reference.kind == CLAIM_TEMPLATE:
        return "device.claimTemplate"
    if reference.kind != CLAIM:
        return ""
    if reference.use == "model":
        return f"{prefix}source pvc://{reference.name}/..."
    if reference.use == "cache":
        return "engine.cache.claimName"
    made = {f"{pod.name}-{reference.use}", claim_name(pod.deployment, pod.group, pod.stage)}
    return _MADE_CLAIM if reference.name in made else "staging.sharedClaimName"


def references_of_users(pod: PodView) -> tuple[Reference, ...]:
    """Return what a pod must find and a user makes. Without a pull Secret an image may be pulled all the same."""
    others = ("", _MADE_CLAIM)
    return tuple(one for one in pod.references if one.use != PULL and field_of(one, pod) not in others)


def explain_reference(
    reference: Reference, body: Manifest | None, *, pod: PodView, now: datetime
) -> Explanation | None:
    """Say why a pod cannot have what it names; ``body``: what was found of it. None where it can."""
    if body is None:
        return explain_cause(PodCause(CauseKind.OBJECT_MISSING, what=reference.kind, name=reference.name), pod, now)
    if reference.kind != CLAIM:
        return None
    if "deletionTimestamp" in body["metadata"]:  # it goes when the pods go that have it
        return explain_cause(PodCause(CauseKind.CLAIM_LEAVING, name=reference.name), pod, now)
    lost = (body.get("status") or {}).get("phase") == "Lost"
    return explain_cause(PodCause(CauseKind.CLAIM_LOST, name=reference.name), pod, now) if lost else None


def explain_cause(cause: PodCause, pod: PodView, now: datetime, *, prefix: str = OF_MODEL) -> Explanation | None:
    """Return what is said of a cause; None for one that is not said of a pod."""
    saying = SAYINGS.get(cause.kind)
    if saying is None:
        return None
    speech = Speech(pod, cause, now, prefix)
    reason = Reason.VOLUME_UNAVAILABLE if cause.what == CLAIM else saying.reason
    passing = saying.passing or (cause.kind is CauseKind.OBJECT_MISSING and speech.is_own)
    return Explanation(reason, saying.text(speech), pod.group, passing)


def refusal_words(said: str) -> str:
    """Say why the API server refused an object, by what it said; its own words where they have no known form."""
    cause = refusal_cause(said)
    saying = REFUSALS.get(cause.kind) if cause else None
    return saying(cause) if cause and saying else clause(said, LONGEST * 2)


def ending_words(cause: PodCause, node: str) -> str:
    """Say why a pod ended, was not let in, or is to go."""
    return ENDINGS[cause.kind](cause, node or "its node")


def unbound_words(claim: UnboundClaim) -> str:
    """Say why a claim has no volume."""
    cause = claim_cause(claim.events)
    return UNBOUND[cause.kind](cause) if cause else sentences.no_volume_matches()


def _field(speech: Speech) -> str:
    return _field_of_kind(speech.cause) or speech.field


def _field_of_kind(cause: PodCause) -> str:
    """Return the field that names an object of the cause's kind, where only one does."""
    if cause.what == SERVICE_ACCOUNT and not cause.name.endswith(_OWN_ACCOUNTS):
        return _ACCOUNT_FIELD
    return _CLASS_FIELDS.get(cause.what, "")


def _missing(speech: Speech) -> str:
    cause = speech.cause
    if speech.is_own:
        return sentences.own_object_missing(cause.what, cause.name, namespace=speech.pod.namespace)
    namespace = "" if cause.what in _CLASS_FIELDS else speech.pod.namespace
    return sentences.object_missing(cause.what, cause.name, namespace=namespace, field=_field(speech))


def _key_missing(speech: Speech) -> str:
    cause, reference = speech.cause, speech.mounted(speech.cause.other)
    name = cause.name or reference.name
    field = field_of(reference, speech.pod, speech.prefix) if cause.other else speech.field
    return sentences.key_missing(cause.what, name, key=cause.key, namespace=speech.pod.namespace, field=field)


def _pull_secret(speech: Speech) -> str:
    name = speech.cause.name.partition(",")[0]
    return sentences.object_missing(SECRET, name, namespace=speech.pod.namespace, field="images.pullSecrets")


def _unbound(speech: Speech) -> str:
    cause, pod = speech.cause, speech.pod
    known = next((one for one in pod.findings.unbound if cause.name in ("", one.name)), None)
    name = known.name if known else cause.name
    why = unbound_words(known) if known else sentences.no_volume_matches()
    return sentences.claim_unbound(name, namespace=pod.namespace, field=speech.field_of(name), why=why)


def _image(why: Callable[[Speech], str], *, passing: bool = False) -> Saying:
    """Return how a cause of an image is said: pod and node, then the cause."""

    def text(speech: Speech) -> str:
        return image_sentences.no_image(speech.pod.name, node=speech.pod.node, why=why(speech))

    return Saying(Reason.IMAGE_UNAVAILABLE, text, passing)


def _denied(speech: Speech) -> str:
    secrets = ", ".join(one.name for one in speech.pod.references if one.use == PULL)
    return image_sentences.image_denied(speech.image, field=speech.image_field, secrets=secrets)


def _volume(text: Callable[[Speech], str], *, passing: bool = False) -> Saying:
    return Saying(Reason.VOLUME_UNAVAILABLE, text, passing)


def _failing(text: Callable[[Speech], str]) -> Saying:
    return Saying(Reason.CONTAINER_FAILING, text)


def _starting(text: Callable[[Speech], str]) -> Saying:
    return Saying(Reason.POD_STARTING, text, passing=True)


def _named_volume(speech: Speech, volume: str) -> str:
    """Name the volume with the claim or Secret that the pod mounts as it, where it is one of the pod's own names."""
    found = speech.mounted(volume)
    return f"{volume} of {found.kind} {found.name}" if found.kind else volume


SAYINGS: Final[Mapping[CauseKind, Saying]] = {
    CauseKind.OBJECT_MISSING: Saying(Reason.REFERENCE_MISSING, _missing),
    CauseKind.KEY_MISSING: Saying(Reason.REFERENCE_MISSING, _key_missing),
    CauseKind.PULL_SECRET_MISSING: Saying(Reason.REFERENCE_MISSING, _pull_secret),
    CauseKind.OBJECT_NOT_READ: _starting(
        lambda s: sentences.object_not_read(s.pod.name, node=s.pod.node, volume=_named_volume(s, s.cause.other))
    ),
    CauseKind.CLAIM_UNBOUND: _volume(_unbound),
    CauseKind.CLAIM_LEAVING: _volume(
        lambda s: sentences.claim_leaving(s.cause.name, namespace=s.pod.namespace, field=s.field)
    ),
    CauseKind.CLAIM_LOST: _volume(
        lambda s: sentences.claim_lost(s.cause.name, namespace=s.pod.namespace, volume=s.cause.other, field=s.field)
    ),
    CauseKind.CLAIM_NOT_MADE: Saying(
        Reason.POD_STARTING,
        lambda s: sentences.claim_not_made(s.cause.name, namespace=s.pod.namespace),
        passing=True,
    ),
    CauseKind.CLASS_MISSING: _volume(lambda s: sentences.class_missing(s.cause.name)),
    CauseKind.VOLUME_IN_USE: _volume(lambda s: sentences.volume_in_use(s.cause.name, pods=s.cause.other), passing=True),
    CauseKind.ATTACH_FAILED: _volume(lambda s: sentences.attach_failed(s.cause.name, node=s.pod.node, said=s.said)),
    CauseKind.MOUNT_FAILED: _volume(
        lambda s: sentences.mount_failed(_named_volume(s, s.cause.name), node=s.pod.node, said=s.said)
    ),
    CauseKind.MOUNT_DENIED: _volume(lambda s: sentences.mount_denied(_named_volume(s, s.cause.name), node=s.pod.node)),
    CauseKind.PATH_MISSING: _volume(
        lambda s: sentences.path_missing(_named_volume(s, s.cause.name), node=s.pod.node, path=s.cause.other)
    ),
    CauseKind.VOLUME_SLOW: _starting(
        lambda s: sentences.volume_slow(s.pod.name, node=s.pod.node, volumes=s.cause.name, waited=s.waited)
    ),
    CauseKind.CSI_DRIVER_MISSING: _volume(lambda s: sentences.driver_missing_on_node(s.cause.name, node=s.pod.node)),
    CauseKind.IMAGE_NOT_FOUND: _image(lambda s: image_sentences.image_not_found(s.image, field=s.image_field)),
    CauseKind.IMAGE_DENIED: _image(_denied),
    CauseKind.IMAGE_RATE_LIMIT: _image(lambda s: image_sentences.image_rate_limit(s.image), passing=True),
    CauseKind.IMAGE_PLATFORM: _image(lambda s: image_sentences.image_of_other_platform(s.image, field=s.image_field)),
    CauseKind.IMAGE_NAME: _image(lambda s: image_sentences.image_name_invalid(s.image, field=s.image_field)),
    CauseKind.IMAGE_NEVER: _image(lambda s: image_sentences.image_never_pulled(s.image, field=s.image_field)),
    CauseKind.IMAGE_UNSIGNED: _image(lambda s: image_sentences.image_unsigned(s.image, field=s.image_field)),
    CauseKind.IMAGE_NODE_DISK: _image(lambda s: image_sentences.node_disk_full(s.image)),
    CauseKind.REGISTRY_CERTIFICATE: _image(lambda s: image_sentences.registry_untrusted(s.image)),
    CauseKind.REGISTRY_PLAIN_HTTP: _image(lambda s: image_sentences.registry_speaks_http(s.image)),
    CauseKind.REGISTRY_NAME: _image(lambda s: image_sentences.registry_unknown(s.cause.name)),
    CauseKind.REGISTRY_REFUSED: _image(lambda s: image_sentences.registry_refuses(s.image)),
    CauseKind.REGISTRY_SILENT: _image(lambda s: image_sentences.registry_silent(s.image)),
    CauseKind.REGISTRY_BROKEN: _image(lambda s: image_sentences.registry_broken(s.image)),
    CauseKind.IMAGE_PULLING: _starting(
        lambda s: image_sentences.image_pulling(s.pod.name, node=s.pod.node, image=s.cause.name, waited=s.waited)
    ),
    CauseKind.NETWORK_NOT_READY: _starting(lambda s: sentences.network_not_ready(s.pod.name, node=s.pod.node)),
    CauseKind.NETWORK_SETUP: _failing(
        lambda s: sentences.network_failed(s.pod.name, node=s.pod.node, plugin=s.cause.name, said=s.said)
    ),
    CauseKind.NO_ADDRESS: _failing(lambda s: sentences.no_address(s.pod.name, node=s.pod.node)),
    CauseKind.RUNTIME_MISSING: _failing(
        lambda s: sentences.runtime_missing(s.pod.name, node=s.pod.node, handler=s.cause.name)
    ),
    CauseKind.SANDBOX_IMAGE: _failing(
        lambda s: sentences.sandbox_image(s.pod.name, node=s.pod.node, image=s.cause.name)
    ),
    CauseKind.SANDBOX_FAILED: _failing(lambda s: sentences.sandbox_failed(s.pod.name, node=s.pod.node, said=s.said)),
    CauseKind.DEVICES_NOT_PREPARED: _failing(
        lambda s: sentences.devices_not_prepared(s.pod.name, node=s.pod.node, said=s.said)
    ),
    CauseKind.RUNS_AS_ROOT: _failing(lambda s: sentences.runs_as_root(s.pod.name, image=_own_image(s))),
    CauseKind.PROGRAM_MISSING: _failing(
        lambda s: sentences.program_missing(s.pod.name, program=s.cause.name, image=_own_image(s), field=s.image_field)
    ),
    CauseKind.PROGRAM_OF_OTHER_CPU: _failing(
        lambda s: sentences.program_of_other_cpu(s.pod.name, node=s.pod.node, image=_own_image(s), field=s.image_field)
    ),
    CauseKind.NVIDIA_RUNTIME: _failing(lambda s: sentences.nvidia_runtime(s.pod.name, node=s.pod.node, said=s.said)),
    CauseKind.CONTAINER_NAME_TAKEN: _starting(lambda s: sentences.container_name_taken(s.pod.name, node=s.pod.node)),
}

#: Why a claim has no volume.
UNBOUND: Final[Mapping[CauseKind, Callable[[PodCause], str]]] = {
    CauseKind.CLASS_MISSING: lambda c: sentences.class_missing(c.name),
    CauseKind.PROVISIONING_FAILED: lambda c: sentences.provisioning_failed(c.name, said=clause(c.said, LONGEST)),
    CauseKind.CSI_DRIVER_MISSING: lambda c: sentences.driver_does_not_provision(c.name),
    CauseKind.CLAIM_WAITS_FOR_POD: lambda _: sentences.class_waits_for_pod(),
    CauseKind.CLAIM_HAS_NO_CLASS: lambda _: sentences.claim_without_class(),
}

#: Why a pod ended or is to go, by the cause and its node, in words that follow the pod's name.
ENDINGS: Final[Mapping[CauseKind, Callable[[PodCause, str], str]]] = {
    CauseKind.NODE_LOW: lambda c, node: sentences.node_low(node, resource=c.name),
    CauseKind.VOLUME_OVER_LIMIT: lambda c, _: sentences.volume_over_limit(c.name, limit=c.other),
    CauseKind.DISK_OVER_LIMIT: lambda c, _: sentences.disk_over_limit(c.other),
    CauseKind.DEVICES_UNAVAILABLE: lambda c, node: sentences.devices_unavailable(
        node, resource=c.name, asked=c.other, available=c.said
    ),
    CauseKind.DEVICES_UNHEALTHY: lambda c, node: sentences.devices_unhealthy(node, resource=c.name),
    CauseKind.DEVICES_UNKNOWN: lambda c, node: sentences.devices_unknown(node, resource=c.name),
    CauseKind.NODE_FULL: lambda c, node: sentences.node_full(node, resource=c.name),
    CauseKind.TOPOLOGY: lambda _, node: sentences.topology_refused(node),
    CauseKind.NODE_LEAVES: lambda _, node: sentences.node_shuts_down(node),
    CauseKind.NODE_TAINTED: lambda _, node: sentences.node_got_taint(node),
    CauseKind.NODE_LOST: lambda _, node: sentences.node_is_lost(node),
    CauseKind.NODE_RULE: lambda _, node: sentences.node_refuses_labels(node),
    CauseKind.NODE_GONE: lambda _, node: sentences.node_is_gone(node),
    CauseKind.EVICTED: lambda _, node: sentences.pod_evicted(node),
    CauseKind.PREEMPTED: lambda *_: sentences.pod_preempted(),
    CauseKind.POD_DEADLINE: lambda *_: sentences.pod_deadline(),
}

#: Why the API server refused an object.
REFUSALS: Final[Mapping[CauseKind, Callable[[PodCause], str]]] = {
    CauseKind.QUOTA: lambda c: refusal_sentences.quota_exceeded(c.name, asked=c.other, left=clause(c.said, LONGEST)),
    CauseKind.QUOTA_NEEDS: lambda c: refusal_sentences.quota_needs(c.name, fields=clause(c.said, LONGEST)),
    CauseKind.OBJECT_MISSING: lambda c: sentences.object_missing(c.what, c.name, namespace="", field=_field_of_kind(c)),
    CauseKind.LIMIT_RANGE: lambda c: refusal_sentences.limit_range(clause(c.said.rstrip("]"), LONGEST)),
    CauseKind.POD_SECURITY: lambda c: refusal_sentences.pod_security(
        c.name, said=clause(c.said, LONGEST), ipc_lock='"IPC_LOCK"' in c.said
    ),
    CauseKind.WEBHOOK: lambda c: refusal_sentences.webhook_denies(c.name, said=clause(c.said, LONGEST)),
    CauseKind.WEBHOOK_SILENT: lambda c: refusal_sentences.webhook_silent(c.name),
    CauseKind.POLICY: lambda c: refusal_sentences.policy_denies(c.name, said=clause(c.said, LONGEST)),
    CauseKind.NAMESPACE_LEAVES: lambda _: refusal_sentences.namespace_leaves(),
    CauseKind.NO_RIGHT: lambda c: refusal_sentences.right_missing(c.name, resource=c.what),
}


def _own_image(speech: Speech) -> str:
    return speech.pod.waiting.image if speech.pod.waiting else ""
