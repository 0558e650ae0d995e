"""Each bad input is refused by ``kubectl apply`` with its sentence, and each rule of the CRD refuses one of them."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.contract.apiserver import CRDS, ApiServer
from tests.contract.bad_inputs import BAD_INPUTS, VALID, VALID_WEIGHTS, BadInput, merged

pytestmark = pytest.mark.apiserver

RESOURCES = "llamadeployments,llamaweights"


def refusal(apiserver: ApiServer, bad: BadInput) -> str:
    """What kubectl says to a bad input; the object that had to be there before is gone again."""
    if bad.before is not None:
        there = apiserver.apply(merged(bad.base, bad.before))
        assert there.returncode == 0, f"{bad.name}: the object before the change is refused:\n{there.stderr}"
    done = apiserver.apply(merged(bad.base, bad.patch))
    if bad.before is not None or done.returncode == 0:
        apiserver.run("delete", RESOURCES, "--all")
    assert done.returncode != 0, f"{bad.name}: the API server took it"
    return done.stderr


@pytest.fixture(scope="module")
def refusals(apiserver: ApiServer) -> dict[str, str]:
    """Filled by the tests, read by the last one."""
    return {}


def test_the_object_that_is_made_bad_is_good(apiserver: ApiServer) -> None:
    for valid in (VALID, VALID_WEIGHTS):
        apiserver.run("apply", "-f", "-", stdin=yaml.safe_dump(valid))
    apiserver.run("delete", RESOURCES, "--all")


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_refused_with_its_sentence(apiserver: ApiServer, refusals: dict[str, str], bad: BadInput) -> None:
    said = refusal(apiserver, bad)
    refusals[bad.name] = said
    assert bad.expect in said


def rule_messages(node: Any) -> Iterator[str]:
    """The message of each CEL rule below a schema."""
    if isinstance(node, dict):
        yield from (rule["message"] for rule in node.get("x-kubernetes-validations", ()))
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from rule_messages(child)


def test_every_rule_has_refused_something(apiserver: ApiServer, refusals: dict[str, str]) -> None:
    for bad in BAD_INPUTS:  # those that were deselected, as with pytest -k
        if bad.name not in refusals:
            refusals[bad.name] = refusal(apiserver, bad)
    messages = [text for path in CRDS.glob("*.yaml") for text in rule_messages(yaml.safe_load(path.read_text()))]
    said = "\n".join(refusals.values())
    assert len(messages) > 30
    assert [message for message in messages if message not in said] == []


def test_names_in_the_table_are_unique_and_many() -> None:
    names = [bad.name for bad in BAD_INPUTS]
    assert len(set(names)) == len(names) >= 40
