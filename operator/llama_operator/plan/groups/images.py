"""The images of a stage's pod: those that the spec names, else the operator's default images.

The defaults that a template took are kept in the status, by its hash: a group whose template differs in nothing else
keeps the images that it runs with, so a new version of the operator restarts no group. The next template takes the new
defaults. Weights that are swapped in running pods do not change the template.
"""

from dataclasses import dataclass

from llama_operator.api import ImagesSpec, LlamaDeploymentSpec
from llama_operator.api.v1alpha1.status import DefaultImages
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.settings import Settings
from llama_serving.config.model import ModelFacts


@dataclass(frozen=True)
class StageImages:
    """Images of a stage's pod."""

    serving: str
    stager: str


def serving_image(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    """Return the image of the stages."""
    return spec.images.serving or settings.serving_image


def gateway_image(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    """Return the image of the gateway and of the stager."""
    return spec.images.gateway or settings.gateway_image


def stage_images(
    spec: LlamaDeploymentSpec, facts: ModelFacts, *, taken: tuple[DefaultImages, ...], settings: Settings
) -> StageImages:
    """Return the images for what the spec asks for. ``taken``: the defaults that the known templates took."""
    for known in taken:
        serving = spec.images.serving or known.serving
        if serving and template_hash(spec, facts, serving_image=serving) == known.template_hash:
            return StageImages(serving, spec.images.gateway or known.stager or settings.gateway_image)
    return StageImages(serving_image(spec, settings), gateway_image(spec, settings))


def with_images(spec: LlamaDeploymentSpec, images: StageImages) -> LlamaDeploymentSpec:
    """Return the spec with these images named in it."""
    named = {"serving": images.serving, "gateway": images.stager}
    return spec.model_copy(update={"images": spec.images.model_copy(update=named)})


def taken_defaults(
    spec: LlamaDeploymentSpec, images: ImagesSpec, *, template: str, known: tuple[DefaultImages, ...]
) -> tuple[DefaultImages, ...]:
    """Return the defaults to keep: of the present template, whose hash is ``template``, and those of ``known``.

    ``images`` are the template's own; one that the spec names is no default.
    """
    present = DefaultImages(
        template_hash=template,
        serving="" if spec.images.serving else images.serving,
        stager="" if spec.images.gateway else images.gateway,
    )
    return (present, *(one for one in known if one.template_hash != template))
