"""Parameters of the replay: from a plain file, from a deployment, and what is said of bad ones."""

from pathlib import Path

import pytest
import yaml

from llama_operator.replay.parameters import BadParametersError, Parameters, read
from llama_operator.replay.traces import Request


def file(folder: Path, content: object) -> Path:
    path = folder / "parameters.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_a_request_takes_prefill_and_a_time_for_each_token() -> None:
    assert Parameters(prefill=100, perToken=0.5).seconds(Request(0, 200, 4)) == 4.0


def test_fields_are_read_and_the_rest_is_assumed(tmp_path: Path) -> None:
    assert read(file(tmp_path, {"slots": 32, "perToken": 0.02})) == Parameters(slots=32, perToken=0.02)


def test_a_deployment_gives_sizes_limits_promise_starts_and_speed(tmp_path: Path) -> None:
    promise = {"target": {"waitSeconds": 2.5, "share": 0.95}, "memorySeconds": 7200}
    deployment = {
        "kind": "LlamaDeployment",
        "spec": {
            "maxConcurrentRequests": 64,
            "sharding": {"pipeline": 2, "tensor": 4},
            "autoscaling": {"minReplicas": 0, "maxReplicas": 6, **promise},
        },
        "status": {"autoscaling": {"starts": [90.0, 400.0, 100.0], "secondsPerToken": 0.03}},
    }
    expected = Parameters(
        slots=64, gpus=8, wait=2.5, share=0.95, memorySeconds=7200,
        minReplicas=0, maxReplicas=6, startDelay=100.0, perToken=0.03,
    )  # fmt: skip
    assert read(file(tmp_path, deployment)) == expected


def test_a_deployment_that_has_measured_nothing_leaves_what_is_assumed(tmp_path: Path) -> None:
    assert read(file(tmp_path, {"kind": "LlamaDeployment"})) == Parameters()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"slots": 0}, "slots: Input should be greater than or equal to 1; it is 0"),
        ({"speed": 3}, "speed: Extra inputs are not permitted; it is 3"),
        ("- 1", "a mapping of names to numbers belongs here"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_bad_file_is_named_with_its_field(tmp_path: Path, content: object, said: str) -> None:
    path = file(tmp_path, content)
    with pytest.raises(BadParametersError) as raised:
        read(path)
    assert str(raised.value).startswith(str(path))
    assert said in str(raised.value)
