"""Each bad input is refused by ``kubectl apply`` with its sentence, and each rule of the CRD refuses one of them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.crd.bad_adapter_inputs import BAD_ADAPTERS
from tests.contract.crd.bad_edge_inputs import BAD_EDGE_INPUTS
from tests.contract.crd.bad_fabric_inputs import BAD_FABRIC_INPUTS
from tests.contract.crd.bad_inputs import BAD_INPUTS, VALID, VALID_WEIGHTS, BadInput, merged
from tests.contract.support.apiserver import CRDS, ApiServer

pytestmark = pytest.mark.apiserver

RESOURCES = "llamadeployments,llamaweights,llamaadapters"
ALL = (*BAD_INPUTS, *BAD_FABRIC_INPUTS, *BAD_ADAPTERS, *BAD_EDGE_INPUTS)
SENTENCE = re.compile(
    r'^Error from server \(\w+\): error when \w+ "([^"]+)": (.*?)(?=^Error from server|\Z)', re.M | re.S
)
"""kubectl's, about one of several files."""


@pytest.fixture(scope="module")
def refusals(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What kubectl says to each bad input, by its name; one that the API server takes is not there."""
    created = refusals_of_creations(apiserver, tmp_path_factory.mktemp("bad"))
    changes = {bad.name: refusal_of_a_change(apiserver, bad) for bad in ALL if bad.before is not None}
    return created | {name: said for name, said in changes.items() if said}


def refusals_of_creations(apiserver: ApiServer, folder: Path) -> dict[str, str]:
    """One kubectl for all of them: its start takes longer than all that the API server does for an object.

    Each has a name of its own, so that one which is taken changes nothing for the others.
    """
    files = {folder / f"{number:03}.yaml": bad for number, bad in enumerate(ALL) if bad.before is None}
    for file, bad in files.items():
        named = merged(bad.base, {"metadata": {"name": f"{bad.base['metadata']['name']}-{file.stem}"}})
        file.write_text(yaml.safe_dump(merged(named, bad.patch)))
    said = dict(SENTENCE.findall(apiserver.kubectl("apply", "-f", str(folder)).stderr))
    return {bad.name: said[str(file)] for file, bad in files.items() if str(file) in said}


def refusal_of_a_change(apiserver: ApiServer, bad: BadInput) -> str:
    """What kubectl says to a change of an object that is there, and is gone afterwards."""
    assert bad.before is not None
    there = apiserver.apply(merged(bad.base, bad.before))
    assert there.returncode == 0, f"{bad.name}: the object before the change is refused:\n{there.stderr}"
    done = apiserver.apply(merged(bad.base, bad.patch))
    apiserver.run("delete", RESOURCES, "--all")
    return done.stderr if done.returncode else ""


def test_the_object_that_is_made_bad_is_good(apiserver: ApiServer) -> None:
    for valid in (VALID, VALID_WEIGHTS):
        apiserver.run("apply", "-f", "-", stdin=yaml.safe_dump(valid))
    apiserver.run("delete", RESOURCES, "--all")


@pytest.mark.parametrize("bad", ALL, ids=lambda bad: bad.name)
def test_refused_with_its_sentence(refusals: dict[str, str], bad: BadInput) -> None:
    assert bad.name in refusals, "the API server took it, or kubectl has another form for its refusal"
    assert bad.expect in refusals[bad.name]


def rule_messages(node: Any) -> Iterator[str]:
    """The message of each CEL rule below a schema."""
    if isinstance(node, dict):
        yield from (rule["message"] for rule in node.get("x-kubernetes-validations", ()))
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from rule_messages(child)


def test_every_rule_has_refused_something(refusals: dict[str, str]) -> None:
    messages = [text for path in CRDS.glob("*.yaml") for text in rule_messages(yaml.safe_load(path.read_text()))]
    said = "\n".join(refusals.values())
    assert len(messages) > 30
    assert [message for message in messages if message not in said] == []


def test_names_in_the_table_are_unique_and_many() -> None:
    names = [bad.name for bad in ALL]
    assert len(set(names)) == len(names) >= 40
