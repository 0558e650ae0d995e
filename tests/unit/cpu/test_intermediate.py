"""The buffer of a later stage."""

from types import SimpleNamespace

import pytest

from llama_serving.cpu.intermediate import ensure_intermediate_tensors


class Runner:
    """The part of vLLM's model runner that the buffer needs."""

    max_num_tokens = 256
    device = "cpu"
    model_config = SimpleNamespace(dtype="bfloat16")

    def __init__(self, tensors: object = None) -> None:
        self.intermediate_tensors = tensors
        self.model = SimpleNamespace(make_empty_intermediate_tensors=lambda **options: options)


@pytest.mark.parametrize(
    ("first", "tensors", "expected"),
    [
        (False, None, {"batch_size": 256, "dtype": "bfloat16", "device": "cpu"}),
        (True, None, None),
        (False, "made by a dummy run", "made by a dummy run"),
    ],
)
def test_later_stages_get_a_buffer_where_no_dummy_run_made_one(first: bool, tensors: object, expected: object) -> None:
    runner = Runner(tensors)
    ensure_intermediate_tensors(runner, first_stage=first)
    assert runner.intermediate_tensors == expected
