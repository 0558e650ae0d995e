"""Which default images and derived sizes are kept in the status.

Those of the desired template, and of what groups may go back to.
"""

from dataclasses import replace

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.status import StageResourcesStatus
from llama_operator.plan.groups.images import taken_defaults
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.persisted import Persisted


def with_defaults_kept(persisted: Persisted, desired: GroupTemplate | None, spec: LlamaDeploymentSpec) -> Persisted:
    """Return what to persist with the defaults that the desired template took; as before while nothing is desired."""
    if desired is None:
        return persisted
    needed = {one.template_hash for one in (persisted.rollout, persisted.stable) if one}
    known = tuple(one for one in persisted.default_images if one.template_hash in needed)
    taken = taken_defaults(spec, desired.spec, template=desired.template_hash, known=known)
    return replace(persisted, default_images=taken, stage_resources=_shown(desired, spec))


def _shown(desired: GroupTemplate, spec: LlamaDeploymentSpec) -> StageResourcesStatus:
    size, asked = desired.spec.resources.size, spec.resources
    unset = {"cpu": asked.cpu, "memory": asked.memory, "sharedMemory": asked.shared_memory}
    derived = tuple(name for name, value in unset.items() if value is None)
    return StageResourcesStatus(cpu=size.cpu, memory=size.memory, shared_memory=size.shared_memory, derived=derived)
