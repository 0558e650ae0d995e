"""A linter over every object that the operator makes, and over that of the chart: what it finds is listed here."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from llama_operator.manifests.rehearsal import rehearsal_pods
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.rehearsal.rehearsal import Rehearsal
from llama_operator.ports import Manifest
from llama_serving.config import names
from tests.fakes.samples import CPU_SPEC, SAMPLES, all_changes, context_of, weights_in
from tests.fakes.weights import REMOTE
from tests.unit.operator import golden
from tests.unit.operator.manifests.lint import faults, has_token, pod_of

SNAPSHOTS = Path(__file__).parents[2] / "chart" / "snapshots"
PROXY = {**CPU_SPEC, "model": {**REMOTE}, "walls": {"sourceEgress": "proxy"}, "staging": {"sizeLimit": "9Gi"}}
SPECS: dict[str, dict[str, Any]] = {**SAMPLES, "proxy": PROXY}
#: The volume of weights without a limit, where a spec names none, and so the disk of containers beside it.
UNLIMITED = ("volume weights has no limit", "of ephemeral-storage")
TOKENS = {names.COMPONENT_GATEWAY, names.COMPONENT_RESOLVER}


def children(spec: dict[str, Any]) -> list[Manifest]:
    """All objects of a deployment, the pods of its groups and of a rehearsal among them."""
    context = context_of(spec)
    nothing: Snapshot = golden.nothing_there(spec)
    template = GroupTemplate("5pec5pec", "7emp7emp", "90d590d5", "w", weights_in(context), context.spec)
    rehearsal = Rehearsal(context.key.name, template, ("a", "b"), True)
    applied = [write.manifest for write in all_changes(context, nothing).applies]
    return [*applied, *rehearsal_pods(context, rehearsal)]


@pytest.mark.parametrize("name", SPECS)
def test_a_deployment(name: str) -> None:
    found = faults(children(SPECS[name]))
    if name == "fabric":
        found = [fault for fault in found if not fault.endswith(UNLIMITED)]
    assert found == []


@pytest.mark.parametrize("name", [name for name in golden.FILES if name.startswith("resolver")])
def test_a_resolver(name: str) -> None:
    assert faults(golden.FILES[name]()) == []


@pytest.mark.parametrize("path", sorted(SNAPSHOTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_chart(path: Path) -> None:
    assert faults([one for one in yaml.safe_load_all(path.read_text()) if one]) == []


def test_only_what_calls_the_api_server_has_a_token() -> None:
    objects = [one for name in SPECS for one in children(SPECS[name])]
    objects += [one for name in golden.FILES if name.startswith("resolver") for one in golden.FILES[name]()]
    pods = [pod for one in objects if (pod := pod_of(one))]
    holders = {pod["metadata"]["labels"][names.LABEL_COMPONENT] for pod in pods if has_token(pod)}
    others = {pod["metadata"]["labels"][names.LABEL_COMPONENT] for pod in pods if not has_token(pod)}
    assert holders == TOKENS
    assert others >= {names.COMPONENT_STAGE, names.COMPONENT_REHEARSAL, names.COMPONENT_FETCH}


def bad_pod(**changes: Any) -> list[Manifest]:
    """A pod of a golden file with its engine's container changed."""
    (pod,) = golden.FILES["staged"]()
    container = pod["spec"]["containers"][0]
    return [{**pod, "spec": {**pod["spec"], "containers": [{**container, **changes}]}}]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, "no policy selects it"),
        ({"image": "engine"}, "the latest"),
        ({"resources": {}}, "has no limits of memory"),
        ({"securityContext": {}}, "may write its image"),
        ({"env": [{"name": "HF_TOKEN", "value": "x"}]}, "has a secret in HF_TOKEN"),
    ],
)
def test_the_linter_finds_what_is_wrong(changes: dict[str, Any], fault: str) -> None:
    assert any(fault in one for one in faults(bad_pod(**changes)))
