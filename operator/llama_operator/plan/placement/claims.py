"""Claims that outlive the pods of a group, so that its next start finds its weights staged.

The groups with an ordinal below ``autoscaling.warmGroups`` have a PersistentVolumeClaim of a fixed name for each stage;
the other groups have claims that come and go with their pods. A claim is mounted by one pod: while other pods of
a group has it, such as during a surge, or while it is being deleted, a new pod gets a claim that goes with it.

A claim is kept while it is for a warm group and stage that the spec has, or a pod mounts it. It is removed when it is
neither, and with the LlamaDeployment.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.naming import claim_name
from llama_operator.plan.sentences import placement as sentences
from llama_serving.config import names
from llama_serving.config.source import is_mounted

KIND = "PersistentVolumeClaim"


def claim_for(item: CreateStage, spec: LlamaDeploymentSpec, world: Snapshot) -> str:
    """Name of the claim that outlives this pod; empty when its weights go with it."""
    name = claim_name(item.group.deployment, item.group.ordinal, item.stage)
    if not is_warm(item.group.ordinal, spec):
        return ""
    going = any(_named(child, name) and "deletionTimestamp" in child["metadata"] for child in world.children)
    used = any(name in pod.claims for pod in world.pods)
    return "" if going or used else name


def is_warm(ordinal: int, spec: LlamaDeploymentSpec) -> bool:
    """Whether the staged weights of this group outlive its pods; weights of a mounted claim (pvc://) do anyway."""
    scaling = spec.autoscaling
    staged = spec.staging.volume_claim_template is not None and not is_mounted(spec.model.source)
    return scaling is not None and staged and ordinal < scaling.warm_groups


def kept_claims(world: Snapshot, spec: LlamaDeploymentSpec) -> frozenset[str]:
    """Names of the claims that stay, whether they are there or not."""
    mounted = frozenset(name for pod in world.pods for name in pod.claims)
    groups = spec.autoscaling.warm_groups if spec.autoscaling else 0
    warm = (
        claim_name(world.key.name, ordinal, stage)
        for ordinal in range(groups)
        for stage in range(spec.sharding.pipeline)
        if is_warm(ordinal, spec)
    )
    return mounted | frozenset(warm)


def warm_sentence(world: Snapshot) -> str:
    """Say what is kept, and for how many groups; empty when nothing is."""
    if world.spec is None:
        return ""
    kept = kept_claims(world, world.spec)
    claims = [child for child in world.children if child["kind"] == KIND and child["metadata"]["name"] in kept]
    groups = {claim["metadata"]["labels"][names.LABEL_GROUP] for claim in claims}
    sizes = Counter(claim["spec"]["resources"]["requests"]["storage"] for claim in claims)
    return sentences.claims_kept(sizes, groups=len(groups)) if claims else ""


def _named(child: Mapping[str, Any], name: str) -> bool:
    return bool(child["kind"] == KIND and child["metadata"]["name"] == name)
