"""What a newer operator sends to groups that keep their older image."""

import json

import pytest
from pydantic import Field, ValidationError

from llama_serving.config.cell import CellConfig, Layout, WeightsRef
from llama_serving.config.desired import DesiredState, GoldenPrompt, Verify

WEIGHTS = WeightsRef(path="/models", id="v1", served_name="chat")


class NewerConfig(CellConfig):
    """A message with a field that older cells do not know."""

    extra: int = 0


class NewerState(DesiredState):
    """The same of the desired state."""

    extra: tuple[str, ...] = Field(default=())


def config(**changes: object) -> NewerConfig:
    layout = Layout(pipeline=1, tensor=1, device="cpu")
    known = {"deployment": "chat", "namespace": "team", "group": 0, "pod_hash": "abc", "stage_hosts": ("stage-0",)}
    return NewerConfig.model_validate({**known, "weights": WEIGHTS, "layout": layout, "context_length": 1} | changes)


def test_an_older_cell_reads_what_has_no_new_meaning() -> None:
    wire = config().to_wire()
    assert "extra" not in wire
    assert CellConfig.model_validate_json(json.dumps(wire)).to_wire() == wire


def test_what_it_cannot_know_is_an_error() -> None:
    with pytest.raises(ValidationError, match="extra"):
        CellConfig.model_validate(config(extra=1).to_wire())


def test_a_newer_operator_and_an_older_cell_name_a_desired_state_alike() -> None:
    verify = Verify(golden=(GoldenPrompt(prompt="a", expect="b"),))
    newer = NewerState(serve=WEIGHTS, verify=verify)
    older = DesiredState.model_validate(newer.to_wire())
    assert older.key == newer.key
