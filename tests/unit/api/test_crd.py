"""The generated CRDs: in step with the models, fully described, and structural."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from llama_operator.api.crdgen.__main__ import generated, main, outdated
from llama_operator.api.crdgen.crd import llama_deployment_crd, llama_weights_crd
from llama_operator.api.crdgen.rules import Rule
from llama_operator.api.crdgen.schema import structural_schema
from llama_serving.config.names import MAX_NAME, MAX_WEIGHTS_NAME

ROOT = Path(__file__).parents[3]


def nodes(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below a schema, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(f"{path}.{name}", child)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from nodes(f"{path}[]", schema[keyword])


CRDS = {crd["spec"]["names"]["kind"]: crd for crd in (llama_deployment_crd(), llama_weights_crd())}


@pytest.fixture(params=CRDS)
def root(request: pytest.FixtureRequest) -> dict[str, Any]:
    schema: dict[str, Any] = CRDS[request.param]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def test_generated_files_are_in_step_with_the_models() -> None:
    assert outdated(ROOT) == [], "run: python -m llama_operator.api.crdgen"


def test_check_names_what_is_out_of_date_and_a_run_repairs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert "crds/llamadeployments.yaml: differs from the models" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert main(["--root", str(tmp_path)]) == 0
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == generated().keys()
    assert main(["--check", "--root", str(tmp_path)]) == 0


def test_every_field_is_described(root: dict[str, Any]) -> None:
    fields = [
        item for item in nodes("", root) if item[0].startswith((".spec", ".status")) and not item[0].endswith("[]")
    ]
    assert len(fields) > 30
    assert [path for path, schema in fields if not schema.get("description")] == []


def test_nothing_unknown_is_kept(root: dict[str, Any]) -> None:
    for path, schema in nodes("", root):
        assert "x-kubernetes-preserve-unknown-fields" not in schema, path
        assert schema.get("additionalProperties") is not True, path
        assert "type" in schema or schema.get("x-kubernetes-int-or-string"), path


def test_text_that_a_rule_reads_is_bounded(root: dict[str, Any]) -> None:
    for path, schema in nodes("", root):
        if schema.get("type") == "string" and "x-kubernetes-validations" in schema:
            assert {"maxLength", "enum"} & schema.keys(), path


def test_literals_have_only_escapes_that_cel_knows(root: dict[str, Any]) -> None:
    r"""CEL refuses the whole CRD for ``\s`` in a literal: a backslash of a regular expression is written twice."""
    escape = re.compile(r"\\(.)", re.DOTALL)
    for path, schema in nodes("", root):
        for rule in schema.get("x-kubernetes-validations", ()):
            assert set(escape.findall(rule["rule"])) <= set("\\abfnrtvxuU0123?`'\""), (path, rule["rule"])


def test_messages_name_their_field(root: dict[str, Any]) -> None:
    for path, schema in nodes("", root):
        for rule in schema.get("x-kubernetes-validations", ()):
            last = (path + rule.get("fieldPath", "")).replace("[]", "").rsplit(".", 1)[-1]
            assert last in rule["message"], (path, rule["message"])


def test_the_longest_name_leaves_room_for_pods() -> None:
    assert len("n" * MAX_NAME + "-0123abcd-9999-127") == 63
    assert len("n" * MAX_WEIGHTS_NAME + "-0123abcd") == 63


def test_a_rule_shows_values_by_one_format() -> None:
    rule = Rule("self.a < self.b", "a must be less than b", shown="a is {self.a}, b is {self.b}", field="a")
    assert rule.to_schema() == {
        "rule": "self.a < self.b",
        "message": "a must be less than b",
        "messageExpression": '"a must be less than b (a is %s, b is %s)".format([self.a, self.b])',
        "fieldPath": ".a",
    }


def test_a_choice_between_types_is_no_structural_schema() -> None:
    class Loose(BaseModel):
        value: int | str

    with pytest.raises(ValueError, match="cannot choose between types"):
        structural_schema(Loose)


def test_what_a_structural_schema_cannot_say_is_an_error() -> None:
    class Odd(BaseModel):
        value: tuple[int, str]

    with pytest.raises(ValueError, match="prefixItems"):
        structural_schema(Odd)
