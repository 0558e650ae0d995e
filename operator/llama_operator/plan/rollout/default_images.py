"""Which default images are kept in the status: those of the desired template, and of what groups may go back to."""

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.status import DefaultImages
from llama_operator.plan.groups.images import taken_defaults
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.persisted import Persisted


def kept_default_images(
    persisted: Persisted, desired: GroupTemplate | None, spec: LlamaDeploymentSpec
) -> tuple[DefaultImages, ...]:
    """Return the default images to persist; as before while nothing is desired."""
    if desired is None:
        return persisted.default_images
    needed = {one.template_hash for one in (persisted.rollout, persisted.stable) if one}
    known = tuple(one for one in persisted.default_images if one.template_hash in needed)
    return taken_defaults(spec, desired.spec.images, template=desired.template_hash, known=known)
