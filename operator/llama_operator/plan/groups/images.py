"""The images of a stage's pod: those that the spec names, else the operator's default images for the device.

The defaults that a template took are kept in the status, by its hash: a group whose template differs in nothing else
keeps the images that it runs with, so a new version of the operator restarts no group. The next template takes the new
defaults. Weights that are swapped in running pods do not change the template.
"""

from dataclasses import dataclass
from typing import Final

from llama_operator.api import CPU, ImagesSpec, LlamaDeploymentSpec
from llama_operator.api.v1alpha1.status import DefaultImages
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.sentences import images as sentences
from llama_operator.plan.settings import Settings
from llama_serving.config.model import ModelFacts

#: Devices that the image for GPUs, which is for NVIDIA's, certainly cannot use: an image for them must be named.
_WITHOUT_IMAGE: Final = ("amd.com/", "gpu.intel.com/", "habana.ai/", "aws.amazon.com/neuron", "google.com/tpu")


@dataclass(frozen=True)
class StageImages:
    """Images of a stage's pod."""

    serving: str
    stager: str


def serving_image(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    """Return the image of the stages; empty where the spec names none and the operator has none for the device."""
    return spec.images.serving or _default(spec, settings)


def _default(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    if spec.device.resource == CPU:
        return settings.serving_image
    return "" if spec.device.resource.startswith(_WITHOUT_IMAGE) else settings.serving_gpu_image


def image_refusal(spec: LlamaDeploymentSpec, images: StageImages, *, settings: Settings) -> str:
    """Say why no group can be made with these images: none is known, or it is the operator's for another device."""
    resource, gpu_image = spec.device.resource, settings.serving_gpu_image
    if not images.serving:
        return sentences.image_for_device_unknown(resource, in_chart=not resource.startswith(_WITHOUT_IMAGE))
    if gpu_image in ("", settings.serving_image):  # which devices that one is for is not known
        return ""
    on_cpu = resource == CPU
    if images.serving != (gpu_image if on_cpu else settings.serving_image):
        return ""
    return sentences.image_for_other_device(images.serving, resource=resource, on_cpu=on_cpu)


def fitting_defaults(
    spec: LlamaDeploymentSpec, taken: tuple[DefaultImages, ...], *, served: str, settings: Settings
) -> tuple[DefaultImages, ...]:
    """Leave out the image for CPU that a template for GPUs took while there was no other, and never served with.

    ``served``: hash of the template that has served; it keeps its image whatever that is.
    """
    if spec.device.resource == CPU or settings.serving_gpu_image in ("", settings.serving_image):
        return taken
    return tuple(one for one in taken if one.serving != settings.serving_image or one.template_hash == served)


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
