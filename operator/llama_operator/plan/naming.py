"""Names of children: computed, never random, so that doing something twice does it once.

``{deployment}-{pod hash}-{group}`` is a group, ``{group}-{stage}`` a stage's pod. A DNS label has at most 63
characters; the CRD limits the object's name so that every name below fits.
"""

import re
from dataclasses import dataclass

from llama_operator.api import ADAPTERS_KIND, ModelSpec, content_of
from llama_serving.config.names import MAX_WEIGHTS_NAME
from llama_serving.config.source import PLACEHOLDER


@dataclass(frozen=True, order=True)
class GroupId:
    """One group of pods of one template: the pod hash says which."""

    deployment: str
    ordinal: int
    pod_hash: str

    @property
    def name(self) -> str:
        """Name of the group's headless Service, ConfigMap and NetworkPolicy, and prefix of its pods."""
        return f"{self.deployment}-{self.pod_hash}-{self.ordinal}"

    def pod(self, stage: int) -> str:
        """Name of a stage's pod."""
        return f"{self.name}-{stage}"

    def host(self, stage: int, namespace: str) -> str:
        """DNS name of a stage, resolvable before the stage is ready."""
        return f"{stage_hostname(stage)}.{self.name}.{namespace}.svc"


def stage_hostname(stage: int) -> str:
    """Hostname of a stage's pod inside its group's headless Service."""
    return f"stage-{stage}"


def gateway_name(deployment: str) -> str:
    """Name of the gateway's Deployment, ConfigMap, ServiceAccount, Role, RoleBinding, PDB and NetworkPolicy."""
    return f"{deployment}-gateway"


def stages_name(deployment: str) -> str:
    """Name of the ServiceAccount and PodDisruptionBudget of all stages."""
    return f"{deployment}-stages"


def token_name(deployment: str) -> str:
    """Name of the Secret with the token of the cells' Ray clusters."""
    return f"{deployment}-token"


def engine_key_name(deployment: str) -> str:
    """Name of the Secret with the key between gateways and engines."""
    return f"{deployment}-engine-key"


def fetch_name(deployment: str) -> str:
    """Name of the fetch proxy's Deployment, Service and NetworkPolicy, and of the Secret with its key."""
    return f"{deployment}-fetch"


def rehearsals_name(deployment: str) -> str:
    """Name of the NetworkPolicy of all rehearsals."""
    return f"{deployment}-rehearsals"


def stager_key_name(deployment: str) -> str:
    """Name of the Secret with the key by which stagers know the operator's desired states."""
    return f"{deployment}-stager-key"


def rehearsal_name(deployment: str, key: str) -> str:
    """Name of the ConfigMap from which a rehearsal configures its engine, and prefix of its pods."""
    return f"{deployment}-{key}-rehearsal"


def rehearsal_pod_name(deployment: str, key: str, index: int) -> str:
    """Name of a rehearsal's pod; 0 builds the configuration, the others pull the image on a node each."""
    return f"{rehearsal_name(deployment, key)}-{index}"


def claim_name(deployment: str, ordinal: int, stage: int) -> str:
    """Name of the claim with the staged weights of a stage, whichever pods of the group have it."""
    return f"{deployment}-{ordinal}-{stage}-weights"


def weights_name(model: ModelSpec) -> str:
    """Name of the LlamaWeights that deployments make: the same for all that want the same weights."""
    end = model.source.replace(PLACEHOLDER, "").rstrip("/").rpartition("/")[2]
    readable = re.sub(r"[^a-z0-9]+", "-", end.lower()).strip("-")
    if not readable[:1].isalpha():
        readable = f"w-{readable}".rstrip("-")
    content = content_of(model)
    return f"{readable[: MAX_WEIGHTS_NAME - len(content) - 1].rstrip('-')}-{content}"


def resolved_prefix(kind: str, name: str) -> str:
    """Begin the names of what a resolver needs; no LlamaWeights can have a name with a point."""
    return f"{name}.adapter" if kind == ADAPTERS_KIND else name


def weights_id(revision: str, digest: str) -> str:
    """Name weights for humans and headers; two digests never share an id, even if a tag was moved."""
    return f"{revision}@{digest.removeprefix('sha256:')[:12]}"


def manifest_name(weights: str) -> str:
    """Name of the ConfigMap that holds the manifest of a LlamaWeights; ``weights``: see ``resolved_prefix``."""
    return f"{weights}-manifest"


def resolver_name(weights: str) -> str:
    """Name of the ServiceAccount, Role, RoleBinding and NetworkPolicy of a resolver."""
    return f"{weights}-resolver"


def resolver_job_name(weights: str, key: str) -> str:
    """Name of the Job that resolves the source; another spec or image is another Job."""
    return f"{weights}-{key}"
