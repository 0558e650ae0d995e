"""What a pod names in its spec, and what was found when somebody asked about it because it waits unexplained."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llama_operator.ports import SeenEvent

Body = Mapping[str, Any]

SECRET: Final = "Secret"
CONFIG_MAP: Final = "ConfigMap"
CLAIM: Final = "PersistentVolumeClaim"
SERVICE_ACCOUNT: Final = "ServiceAccount"
CLAIM_TEMPLATE: Final = "ResourceClaimTemplate"
#: ``use`` of a Secret with which images are pulled.
PULL: Final = "image pull"


@dataclass(frozen=True, order=True)
class Reference:
    """An object that a pod names. ``use``: the volume that it is mounted as, the claim's name in the pod, or PULL."""

    kind: str
    name: str
    use: str

    @property
    def api_version(self) -> str:
        """API group and version of its kind."""
        return "resource.k8s.io/v1" if self.kind == CLAIM_TEMPLATE else "v1"


@dataclass(frozen=True)
class UnboundClaim:
    """A claim that has no volume yet, and what its controllers say of that."""

    name: str
    storage_class: str
    events: tuple[SeenEvent, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What was found about a pod, or a Job: its events, and which of the objects that it names are there."""

    events: tuple[SeenEvent, ...] = ()
    absent: frozenset[Reference] = frozenset()
    present: frozenset[Reference] = frozenset()
    unbound: tuple[UnboundClaim, ...] = ()


NOTHING: Final = Findings()


def references(body: Body) -> tuple[Reference, ...]:
    """Return what a pod names: Secrets, ConfigMaps, claims and claim templates that it needs, and its pull Secrets."""
    spec = body.get("spec") or {}
    pulls = (Reference(SECRET, one["name"], PULL) for one in spec.get("imagePullSecrets") or () if one.get("name"))
    volumes = (found for volume in spec.get("volumes") or () for found in _of_volume(volume, body))
    named = ((one.get("resourceClaimTemplateName"), one["name"]) for one in spec.get("resourceClaims") or ())
    devices = (Reference(CLAIM_TEMPLATE, template, use) for template, use in named if template)
    return tuple(sorted({*pulls, *volumes, *devices}))


def _of_volume(volume: Body, body: Body) -> Iterator[Reference]:
    use = volume.get("name", "")
    secret, config_map, claim = (volume.get(kind) or {} for kind in ("secret", "configMap", "persistentVolumeClaim"))
    if secret.get("secretName") and not secret.get("optional"):
        yield Reference(SECRET, secret["secretName"], use)
    if config_map.get("name") and not config_map.get("optional"):
        yield Reference(CONFIG_MAP, config_map["name"], use)
    if claim.get("claimName"):
        yield Reference(CLAIM, claim["claimName"], use)
    if volume.get("ephemeral"):  # a controller makes it, under this name
        yield Reference(CLAIM, f"{body['metadata']['name']}-{use}", use)
