"""Which image the stages get: by the device; what serves keeps its own; what cannot fit is refused before any pod."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api import LlamaDeploymentSpec, LlamaDeploymentStatus
from llama_operator.api.v1alpha1.status import DefaultImages
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.groups.images import image_refusal, serving_image, stage_defaults
from llama_operator.plan.groups.state import PlanState, plan_state
from llama_operator.plan.groups.template import desired_template, persisted_template
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.plan import Plan
from llama_operator.plan.planner import plan
from llama_operator.plan.settings import Settings
from llama_serving.config.reasons import Reason
from tests.fakes.models import FACTS
from tests.fakes.world import spec_of
from tests.unit.operator.worlds import NOW, world

BOTH = Settings("cpu:2", "gateway:2", "llama-system", serving_gpu_image="gpu:2")
CPU_ONLY = replace(BOTH, serving_gpu_image="")
ONE_FOR_ALL = replace(BOTH, serving_gpu_image="cpu:2")
GPU: dict[str, Any] = {"device": {"resource": "nvidia.com/gpu", "count": 1}}
AMD: dict[str, Any] = {"device": {"resource": "amd.com/gpu", "count": 1}}


def spec(**changes: Any) -> LlamaDeploymentSpec:
    return LlamaDeploymentSpec.model_validate(spec_of(**changes))


def state(settings: Settings, *, kept: str = "", served: bool = False, **changes: Any) -> PlanState:
    """A deployment before its first pass, or one whose template took the default image ``kept``, and served with it."""
    found = replace(world(spec=changes), status=LlamaDeploymentStatus())
    if not kept:
        return plan_state(found, settings, NOW)
    before = replace(settings, serving_image=kept, serving_gpu_image=kept)
    hashed = template_hash(spec(**changes), FACTS, serving_image=kept)
    template = desired_template(plan_state(found, before, NOW))
    assert template is not None
    status = LlamaDeploymentStatus(
        default_images=(DefaultImages(template_hash=hashed, serving=kept, stager="gateway:1"),),
        stable=persisted_template(template) if served else None,
    )
    return plan_state(replace(found, status=status), settings, NOW)


def refusal(found: Plan) -> str:
    refused = [one.detail for one in found.explanations if one.reason is Reason.IMAGE_REFUSED]
    assert bool(refused) is not any(isinstance(one, CreateStage) for one in found.actions.creates)
    return refused[0] if refused else ""


@pytest.mark.parametrize(
    ("changes", "image"),
    [
        ({}, "cpu:2"),
        (GPU, "gpu:2"),
        ({"device": {"resource": "nvidia.com/mig-3g.40gb", "count": 1}}, "gpu:2"),
        (AMD, ""),
        (AMD | {"images": {"serving": "rocm:1"}}, "rocm:1"),
        (GPU | {"images": {"serving": "mine:1"}}, "mine:1"),
        ({"images": {"serving": "mine:1"}}, "mine:1"),
    ],
    ids=str,
)
def test_the_default_follows_the_device(changes: dict[str, Any], image: str) -> None:
    assert serving_image(spec(**changes), BOTH) == image


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        (BOTH, {}, ""),
        (BOTH, GPU, ""),
        (BOTH, GPU | {"images": {"serving": "mine:1"}}, ""),
        (BOTH, AMD | {"images": {"serving": "rocm:1"}}, ""),
        (ONE_FOR_ALL, GPU, ""),
        (ONE_FOR_ALL, GPU | {"images": {"serving": "cpu:2"}}, ""),
        (CPU_ONLY, {}, ""),
        (CPU_ONLY, GPU | {"images": {"serving": "cpu:2"}}, ""),  # whether it is for CPU only is not known
        (CPU_ONLY, GPU, "images.serving is empty, and the operator has no image for nvidia.com/gpu; name one in"
                        " images.serving, or set images.servingGpu of the operator's chart"),
        (CPU_ONLY, AMD, "images.serving is empty, and the operator has no image for amd.com/gpu; name one in"
                        " images.serving"),
        (BOTH, AMD, "images.serving is empty, and the operator has no image for amd.com/gpu; name one in"
                    " images.serving"),
        (BOTH, GPU | {"images": {"serving": "cpu:2"}}, "images.serving is cpu:2, the operator's image for CPU, and"
         " device.resource is nvidia.com/gpu; leave images.serving empty, or name an image for GPUs"),
        (BOTH, {"images": {"serving": "gpu:2"}}, "images.serving is gpu:2, the operator's image for GPUs, and"
         " device.resource is cpu; leave images.serving empty, or name an image for CPU"),
    ],
    ids=str,
)  # fmt: skip
def test_an_image_for_another_device_is_refused_before_any_pod(
    settings: Settings, changes: dict[str, Any], said: str
) -> None:
    assert refusal(plan(state(settings, **changes))) == said


@pytest.mark.parametrize("kept", ["cpu:1", "gpu:1", "cuda-of-mine:1", "cpu:2"])
@pytest.mark.parametrize("changes", [{}, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("settings", [BOTH, CPU_ONLY, ONE_FOR_ALL], ids=["both", "cpu-only", "one"])
def test_another_version_of_the_operator_changes_no_image_that_has_served(
    settings: Settings, changes: dict[str, Any], kept: str
) -> None:
    seen = state(settings, kept=kept, served=True, **changes)
    template = desired_template(seen)
    assert template is not None
    assert template.spec.images.serving == kept
    assert refusal_text(plan(seen)) == ""


def refusal_text(found: Plan) -> str:
    return next((one.detail for one in found.explanations if one.reason is Reason.IMAGE_REFUSED), "")


def test_gpus_that_never_served_with_the_image_for_cpu_get_the_one_for_gpus() -> None:
    template = desired_template(state(BOTH, kept="cpu:2", **GPU))
    assert template is not None
    assert template.spec.images.serving == "gpu:2"


@pytest.mark.parametrize("changes", [{}, GPU], ids=["cpu", "gpu"])
def test_a_first_start_keeps_its_image_when_the_operator_changes(changes: dict[str, Any]) -> None:
    template = desired_template(state(BOTH, kept="other:1", **changes))
    assert template is not None
    assert template.spec.images.serving == "other:1"


IMAGES = st.sampled_from(["", "a:1", "b:1", "c:1"])


@given(named=IMAGES, cpu=IMAGES.filter(bool), gpu=IMAGES, resource=st.sampled_from(["cpu", "nvidia.com/gpu"]))
def test_a_group_is_made_of_the_named_image_or_of_the_default_of_its_device_or_not_at_all(
    *, named: str, cpu: str, gpu: str, resource: str
) -> None:
    settings = Settings(cpu, "gateway:1", "llama-system", serving_gpu_image=gpu)
    found = spec(device={"resource": resource, "count": 1}, images={"serving": named})
    images = stage_defaults(found, FACTS, taken=(), settings=settings)
    refused = image_refusal(found, images.serving, settings=settings)
    own, others = (cpu, gpu) if resource == "cpu" else (gpu, cpu)
    assert images.serving == (named or own)
    if not refused:
        assert images.serving
        assert images.serving != others or gpu in ("", cpu)
    if named and named not in (cpu, gpu):
        assert not refused, "an image that is not the operator's says for itself what it is for"
