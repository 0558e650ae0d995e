"""What GitOps tools go by: an apply that changes nothing says so, and an object is ready when it is."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llama_operator.api.crdgen.crd import llama_adapter_crd, llama_deployment_crd, llama_weights_crd
from testbed.cache import binaries
from tests.contract.crd.bad_inputs import VALID, VALID_WEIGHTS
from tests.contract.crd.test_crd_accepts import EXAMPLES
from tests.contract.support.apiserver import CRDS, ApiServer
from tests.contract.support.filled import at, lists_of, with_all_lists
from tests.fakes.every_reason import cases, deployment_with, weights_with
from tests.unit.chart.helm import CHART, Helm, real_helm

apiserver_needed = pytest.mark.apiserver

ROOTS = {
    crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for crd in (llama_deployment_crd(), llama_weights_crd(), llama_adapter_crd())
}
BASES = (VALID, VALID_WEIGHTS)
MANAGERS = pytest.mark.parametrize("where", [(), ("--server-side",)], ids=["client-side", "server-side"])


def filled(base: dict[str, Any]) -> dict[str, Any]:
    return with_all_lists(base, ROOTS[base["kind"]])


@pytest.mark.parametrize("base", BASES, ids=lambda base: base["kind"])
def test_the_filled_object_has_every_list_of_the_schema(base: dict[str, Any]) -> None:
    found = list(lists_of(ROOTS[base["kind"]]["properties"]["spec"]))
    assert len(found) >= 3
    assert [path for path in found if not at(filled(base), path)] == []


# -- apply twice -------------------------------------------------------------------------------------------------------


def applied_twice(apiserver: ApiServer, namespace: str, text: str, *where: str) -> None:
    """The second apply says that it changed nothing, and it did not.

    Between the two the operator writes a first status. Until then the default of the status is not stored, and any
    write stores it.
    """
    objects = list(yaml.safe_load_all(text))

    def versions() -> list[str]:
        found = (apiserver.rest.get(namespace, one["kind"], one["metadata"]["name"]) for one in objects)
        return [one["metadata"]["resourceVersion"] for one in found]

    apiserver.run("apply", *where, "-n", namespace, "-f", "-", stdin=text)
    for one in objects:
        if one["kind"] in ROOTS:
            status = {"status": {"observedGeneration": 1}}
            apiserver.rest.patch(namespace, one["kind"], one["metadata"]["name"], change=status, subresource="status")
    before = versions()
    said = apiserver.run("apply", *where, "-n", namespace, "-f", "-", stdin=text).splitlines()
    assert versions() == before, said
    if not where:
        assert [line.rsplit(" ", 1)[-1] for line in said] == ["unchanged"] * len(objects), said


@apiserver_needed
@MANAGERS
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_applied_twice_is_unchanged(
    apiserver: ApiServer, namespace: str, path: Path, *, where: tuple[str, ...]
) -> None:
    applied_twice(apiserver, namespace, path.read_text(encoding="utf-8"), *where)


@apiserver_needed
@MANAGERS
@pytest.mark.parametrize("base", BASES, ids=lambda base: base["kind"])
def test_an_object_with_every_list_filled_applied_twice_is_unchanged(
    apiserver: ApiServer, namespace: str, base: dict[str, Any], *, where: tuple[str, ...]
) -> None:
    applied_twice(apiserver, namespace, yaml.safe_dump(filled(base)), *where)


@apiserver_needed
def test_a_server_side_apply_takes_over_what_was_applied_without(apiserver: ApiServer, namespace: str) -> None:
    text = yaml.safe_dump(filled(VALID))
    apiserver.run("apply", "-n", namespace, "-f", "-", stdin=text)
    write_status(apiserver, namespace, ready=True)
    applied_twice(apiserver, namespace, text, "--server-side")


# -- ready when it is --------------------------------------------------------------------------------------------------


def write_status(apiserver: ApiServer, namespace: str, *, ready: bool, name: str = "llama") -> None:
    """The operator has observed the object's present generation."""
    status = deployment_with(writes=0 if ready else 1).to_api()
    generation = apiserver.rest.get(namespace, "lld", name)["metadata"]["generation"]
    status["observedGeneration"] = generation
    for condition in status["conditions"]:
        condition["observedGeneration"] = generation
    apiserver.rest.patch(namespace, "lld", name, change={"status": status}, subresource="status")


def verdicts(bodies: list[dict[str, Any]]) -> list[str]:
    program = binaries.ensure(("kstatus",))["kstatus"]
    done = subprocess.run([program], input=json.dumps(bodies), capture_output=True, text=True, timeout=60, check=True)
    return [one["status"] for one in json.loads(done.stdout)]


def test_kstatus_says_of_every_reason_what_its_severity_means() -> None:
    every = cases()
    found = dict(zip((case.name for case in every), verdicts([case.body for case in every]), strict=True))
    assert found == {case.name: case.expect for case in every}
    assert {*found.values()} == {"Current", "Failed", "InProgress", "Terminating"}


@apiserver_needed
@pytest.mark.parametrize("base", BASES, ids=lambda base: base["kind"])
def test_an_object_that_the_operator_has_not_seen_is_in_progress(
    apiserver: ApiServer, namespace: str, base: dict[str, Any]
) -> None:
    made = apiserver.rest.create(namespace, base)
    seen = apiserver.rest.get(namespace, base["kind"], base["metadata"]["name"])
    assert made["status"]["observedGeneration"] == seen["status"]["observedGeneration"] == -1
    assert verdicts([made, seen]) == ["InProgress", "InProgress"]


@apiserver_needed
def test_kubectl_wait_tells_the_truth_over_an_edit(apiserver: ApiServer, namespace: str) -> None:
    def wait() -> int:
        asked = ("wait", "--for=condition=Ready", "--timeout=1s", "lld/llama", "-n", namespace)
        return apiserver.kubectl(*asked).returncode

    def verdict() -> list[str]:
        return verdicts([apiserver.rest.get(namespace, "lld", "llama")])

    apiserver.rest.create(namespace, VALID)
    assert wait() != 0
    write_status(apiserver, namespace, ready=False)
    assert (wait() != 0, verdict()) == (True, ["InProgress"])
    write_status(apiserver, namespace, ready=True)
    assert (wait(), verdict()) == (0, ["Current"])
    apiserver.rest.patch(namespace, "lld", "llama", change={"spec": {"replicas": 2}})
    assert (wait() != 0, verdict()) == (True, ["InProgress"]), "the status is still that of the spec before"


@apiserver_needed
def test_kubectl_wait_knows_weights(apiserver: ApiServer, namespace: str) -> None:
    apiserver.rest.create(namespace, VALID_WEIGHTS)
    status = weights_with("Accepted", settled=True).to_api()
    apiserver.rest.patch(namespace, "llw", "llama-weights", change={"status": status}, subresource="status")
    apiserver.run("wait", "--for=condition=Ready", "--timeout=5s", "llw/llama-weights", "-n", namespace)


# -- Helm --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def helm(apiserver: ApiServer) -> Helm:
    return real_helm(apiserver.environment)


@pytest.fixture
def bare(apiserver: ApiServer) -> Iterator[Helm]:
    """Helm on an API server without our CRDs, which are there again afterwards."""
    apiserver.run("delete", "-f", str(CRDS))
    yield real_helm(apiserver.environment)
    apiserver.install_crds()


def chart_of(folder: Path, *objects: dict[str, Any], **about: Any) -> Path:
    """A chart whose templates are these objects."""
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(
        yaml.safe_dump({"apiVersion": "v2", "name": folder.name, "version": "0.1.0", **about})
    )
    (folder / "templates" / "all.yaml").write_text(yaml.safe_dump_all(objects))
    return folder


@apiserver_needed
def test_helm_waits_until_it_is_ready(apiserver: ApiServer, helm: Helm, namespace: str, *, tmp_path: Path) -> None:
    chart = chart_of(tmp_path / "one", VALID)
    asked = ("upgrade", "--install", "one", str(chart), "--namespace", namespace, "--wait")
    done = helm(*asked, "--timeout", "2s")
    assert done.returncode != 0, "nobody has seen the object, and helm says that it is there"
    assert "InProgress" in done.stdout + done.stderr
    write_status(apiserver, namespace, ready=True)
    helm.run(*asked, "--timeout", "30s")


@apiserver_needed
@MANAGERS
def test_the_rendered_chart_can_be_applied_again_and_again(
    apiserver: ApiServer, helm: Helm, namespace: str, *, where: tuple[str, ...]
) -> None:
    text = helm.run("template", "demo", str(CHART), "--namespace", namespace, "--set", "crds.install=false")
    applied_twice(apiserver, namespace, text, *where)


@apiserver_needed
def test_the_rendered_crds_can_be_applied_again_and_again(apiserver: ApiServer, bare: Helm, namespace: str) -> None:
    kinds = ("llamadeployments", "llamaweights", "llamaadapters")
    only = [word for kind in kinds for word in ("--show-only", f"templates/crds/{kind}.yaml")]
    text = bare.run("template", "demo", str(CHART), "--namespace", namespace, *only)
    for where in ((), ("--server-side",)):
        apiserver.run("apply", *where, "-f", "-", stdin=text)
        again = apiserver.run("apply", *where, "-f", "-", stdin=text)
        assert where or again.count("unchanged") == len(kinds), again


def umbrella(folder: Path) -> Path:
    """A chart with the operator as a dependency and a LlamaDeployment of its own."""
    operator = {"name": "llama-operator", "version": yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]}
    chart = chart_of(folder, VALID, dependencies=[operator])
    shutil.copytree(CHART, chart / "charts" / "llama-operator")
    return chart


@apiserver_needed
def test_an_umbrella_chart_works_as_the_charts_readme_says(
    apiserver: ApiServer, bare: Helm, namespace: str, *, tmp_path: Path
) -> None:
    """Helm looks up every kind before it installs anything but ``crds/``."""
    chart = umbrella(tmp_path / "platform")
    done = bare("install", "platform", str(chart), "--namespace", namespace)
    assert "ensure CRDs are installed first" in done.stderr
    shutil.copytree(CRDS, chart / "crds")
    asked = ("--namespace", namespace, "--set", "llama-operator.crds.install=false")
    bare.run("install", "platform", str(chart), *asked)
    assert apiserver.rest.get(namespace, "lld", "llama")["spec"]["replicas"] == 1
    bare.run("upgrade", "platform", str(chart), *asked)
