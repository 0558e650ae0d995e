"""A layout against how the model is quantized: what a CPU cannot compute, and what contradicts the weights."""

from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.plan.placement.layout import check_layout
from llama_operator.plan.reasons import Explanation
from llama_serving.config.reasons import Reason
from tests.fakes.models import FACTS
from tests.fakes.world import spec_of

ONE = {"pipeline": 1, "tensor": 1}
CPU: dict[str, Any] = {"device": {"resource": "cpu"}, "sharding": ONE}
GPU: dict[str, Any] = {"device": {"resource": "nvidia.com/gpu"}, "sharding": ONE}


def holds(method: str, **spec: Any) -> tuple[Explanation, ...]:
    """What contradicts a model that is quantized with ``method``."""
    wanted = LlamaDeploymentSpec.model_validate(spec_of(**{**GPU, **spec}))
    return check_layout(wanted, FACTS.model_copy(update={"quantization": method}))


@pytest.mark.parametrize("method", ["fbgemm_fp8", "modelopt_fp4", "modelopt_mxfp8", "mxfp8"])
def test_weights_without_kernels_for_a_cpu(method: str) -> None:
    assert holds(method, **GPU) == ()
    (hold,) = holds(method, **CPU)
    assert hold.reason == Reason.LAYOUT_REFUSED
    assert hold.detail.startswith(f"spec.device.resource is cpu, but the model is quantized with {method}")


@pytest.mark.parametrize("method", ["", "fp8", "awq", "gptq", "compressed-tensors"])
def test_weights_that_a_cpu_computes(method: str) -> None:
    assert holds(method, **CPU) == ()


@pytest.mark.parametrize(
    ("asked", "method"),
    [
        ("fp8", ""),
        ("fp8", "fp8"),
        ("awq", "awq"),
        ("awq_marlin", "awq"),
        ("gptq_marlin", "gptq"),
        ("compressed-tensors", "compressed-tensors"),
        ("modelopt", "modelopt_fp4"),
        ("fp8", "modelopt"),
        ("gptq", "auto-round"),
    ],
)
def test_what_may_be_asked_for(asked: str, method: str) -> None:
    assert holds(method, engine={"quantization": asked}) == ()


@pytest.mark.parametrize(
    ("asked", "method", "said"),
    [
        ("awq", "", "is awq, but the model is not quantized"),
        ("fp8", "fbgemm_fp8", "is fp8, but the model is quantized with fbgemm_fp8"),
        ("gptq", "awq", "is gptq, but the model is quantized with awq"),
        ("compressed-tensors", "fp8", "is compressed-tensors, but the model is quantized with fp8"),
    ],
)
def test_what_contradicts_the_weights(asked: str, method: str, said: str) -> None:
    (hold,) = holds(method, engine={"quantization": asked})
    assert hold.detail == f"spec.engine.quantization {said}; leave the field out"
