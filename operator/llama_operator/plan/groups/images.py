"""Images and sizes of a stage's pod: those that the spec names, else the operator's defaults for the device.

The defaults that a template took are kept in the status, by its hash: a group whose template differs in nothing else
keeps what it runs with, so neither a new version of the operator nor other weights restart a group. The next template
takes the new defaults. Weights that are swapped in running pods do not change the template.
"""

from dataclasses import dataclass
from typing import Final

from llama_operator.api import CPU, FORMER_SIZE, LlamaDeploymentSpec, StageSize
from llama_operator.api.v1alpha1.status import DefaultImages
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.placement.stage_size import derived_size
from llama_operator.plan.sentences import images as sentences
from llama_operator.plan.settings import Settings
from llama_serving.config.model import ModelFacts

#: Devices that the image for GPUs, which is for NVIDIA's, certainly cannot use: an image for them must be named.
_WITHOUT_IMAGE: Final = ("amd.com/", "gpu.intel.com/", "habana.ai/", "aws.amazon.com/neuron", "google.com/tpu")


@dataclass(frozen=True)
class StageDefaults:
    """Images and sizes of a stage's pod, whether the spec names them or not."""

    serving: str
    stager: str
    size: StageSize


def serving_image(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    """Return the image of the stages; empty where the spec names none and the operator has none for the device."""
    return spec.images.serving or _default(spec, settings)


def _default(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    if spec.device.resource == CPU:
        return settings.serving_image
    return "" if spec.device.resource.startswith(_WITHOUT_IMAGE) else settings.serving_gpu_image


def image_refusal(spec: LlamaDeploymentSpec, serving: str, *, settings: Settings) -> str:
    """Say why no group can be made with this image: none is known, or it is the operator's for another device."""
    resource, gpu_image = spec.device.resource, settings.serving_gpu_image
    if not serving:
        return sentences.image_for_device_unknown(resource, in_chart=not resource.startswith(_WITHOUT_IMAGE))
    if gpu_image in ("", settings.serving_image):  # which devices that one is for is not known
        return ""
    on_cpu = resource == CPU
    if serving != (gpu_image if on_cpu else settings.serving_image):
        return ""
    return sentences.image_for_other_device(serving, resource=resource, on_cpu=on_cpu)


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


def stage_defaults(
    spec: LlamaDeploymentSpec, facts: ModelFacts, *, taken: tuple[DefaultImages, ...], settings: Settings
) -> StageDefaults:
    """Return images and sizes for what the spec asks for. ``taken``: the defaults that the known templates took."""
    for known in taken:
        serving = spec.images.serving or known.serving
        stager = spec.images.gateway or known.stager or settings.gateway_image
        found = StageDefaults(serving, stager, spec.resources.over(_size_of(known)))
        if serving and _hash_of(spec, facts, found) == known.template_hash:
            return found
    size = derived_size(spec, facts)
    return StageDefaults(serving_image(spec, settings), gateway_image(spec, settings), size)


def with_defaults(spec: LlamaDeploymentSpec, found: StageDefaults) -> LlamaDeploymentSpec:
    """Return the spec with these images and sizes named in it."""
    images = spec.images.model_copy(update={"serving": found.serving, "gateway": found.stager})
    resources = spec.resources.model_copy(update=vars(found.size))
    return spec.model_copy(update={"images": images, "resources": resources})


def taken_defaults(
    spec: LlamaDeploymentSpec, made: LlamaDeploymentSpec, *, template: str, known: tuple[DefaultImages, ...]
) -> tuple[DefaultImages, ...]:
    """Return the defaults to keep: of the present template, whose hash is ``template``, and those of ``known``.

    ``made`` is the template's own spec; what ``spec`` names is no default.
    """
    asked, size = spec.resources, made.resources.size
    present = DefaultImages(
        template_hash=template,
        serving="" if spec.images.serving else made.images.serving,
        stager="" if spec.images.gateway else made.images.gateway,
        cpu=size.cpu if asked.cpu is None else "",
        memory=size.memory if asked.memory is None else "",
        shared_memory=size.shared_memory if asked.shared_memory is None else "",
    )
    return (present, *(one for one in known if one.template_hash != template))


def _size_of(known: DefaultImages) -> StageSize:
    """Return the derived sizes that a template took; one that took none may have had those of before."""
    return StageSize(
        cpu=known.cpu or FORMER_SIZE.cpu,
        memory=known.memory or FORMER_SIZE.memory,
        shared_memory=known.shared_memory or FORMER_SIZE.shared_memory,
    )


def _hash_of(spec: LlamaDeploymentSpec, facts: ModelFacts, found: StageDefaults) -> str:
    return template_hash(with_defaults(spec, found), facts, serving_image=found.serving)
