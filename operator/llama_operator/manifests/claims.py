"""The claim of a stage whose staged weights outlive its pod. Written once: most of a claim cannot be changed."""

from llama_operator.api.v1alpha1.staging import ClaimTemplate
from llama_operator.manifests.common import Context, metadata
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.naming import claim_name
from llama_operator.ports import Manifest
from llama_serving.config import names


def claim_spec(template: ClaimTemplate) -> Manifest:
    """One pod mounts it, so ReadWriteOnce is enough."""
    spec: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": template.size}}}
    if template.storage_class_name:
        spec["storageClassName"] = template.storage_class_name
    return spec


def stage_claim(context: Context, item: CreateStage, template: ClaimTemplate) -> Manifest:
    """Return the claim; deleting the LlamaDeployment deletes it."""
    name = claim_name(context.key.name, item.group.ordinal, item.stage)
    labels = {"group": str(item.group.ordinal), "stage": str(item.stage)}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(context, name, names.COMPONENT_STAGE, **labels),
        "spec": claim_spec(template),
    }
