"""What a newer operator sends to groups that keep their older image."""

import json

import pytest
from pydantic import Field, ValidationError

from llama_operator.api.v1alpha1.verification import DEEPEST, GoldenPromptSpec, VerifySpec
from llama_operator.hashing import short_hash
from llama_serving.config.cell import CellConfig, Layout, WeightsRef
from llama_serving.config.desired import DesiredState, GoldenPrompt, Measurement, Verify, texts_hash

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


CALL = {"tools": [{"name": "f"}], "expectCall": {"name": "f"}}


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ({"expect": "b"}, {"prompt": "a", "expect": "b"}),
        ({"expect": "b", "maxTokens": 32}, {"prompt": "a", "expect": "b"}),
        (CALL, {"prompt": "a", "tools": [{"name": "f"}], "expect_call": {"name": "f"}, "max_tokens": 256}),
        (
            CALL | {"maxTokens": 9},
            {"prompt": "a", "tools": [{"name": "f"}], "expect_call": {"name": "f"}, "max_tokens": 9},
        ),
        ({"schema": "{}"}, {"prompt": "a", "answer_schema": "{}", "max_tokens": 256}),
    ],
)
def test_a_new_field_of_a_golden_prompt_is_sent_only_where_it_is_used(
    prompt: dict[str, object], sent: dict[str, object]
) -> None:
    spec = VerifySpec.model_validate({"goldenPrompts": [{"prompt": "a"} | prompt]})
    assert spec.message().to_wire() == {"golden": [sent]}
    assert Verify.model_validate_json(json.dumps(spec.message().to_wire())).key == spec.message().key


def test_names_of_texts_stay_with_the_operator() -> None:
    """An older cell measures named texts too."""
    spec = VerifySpec.model_validate({"qualityTexts": ["a"], "namedQualityTexts": [{"name": "n", "text": "b"}]})
    assert spec.message().to_wire() == {"quality_texts": ["a", "b"]}
    assert spec.text_names == ("quality text 1", "n")


def test_operator_and_cell_name_texts_alike() -> None:
    for texts in ([], ["a"], ["ä", "ไทย"]):
        assert texts_hash(texts) == short_hash(texts)


def test_a_measurement_of_a_newer_cell_is_read() -> None:
    newer = {"digest": "d", "id": "i", "more": 1, "golden": [{"prompt": "a", "passed": True, "answer": "", "more": 1}]}
    assert Measurement.model_validate(newer).golden[0].passed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": }', "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ("5", "must be a JSON object"),
        ('{"a": NaN}', "it has the number NaN"),
        ('{"a":' * DEEPEST + "1" + "}" * DEEPEST, ""),
        ('{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1), f"deeper than {DEEPEST} levels"),
        ('{"a":' * 700 + "1" + "}" * 700, f"deeper than {DEEPEST} levels"),
        ('{"a":' * 2000 + "1" + "}" * 2000, f"deeper than {DEEPEST} levels"),
        ('{"a": ' + "[" * 8000 + "}", "deeper than"),
    ],
)
def test_json_of_users_is_an_object_that_is_not_deep(text: str, words: str) -> None:
    if not words:
        assert GoldenPromptSpec.model_validate({"prompt": "a", "schema": text}).answer_schema == text
        return
    with pytest.raises(ValidationError, match=words):
        GoldenPromptSpec.model_validate({"prompt": "a", "schema": text})
