"""Operators among others: before their CRDs, without rights, two on one namespace, and while it is deleted."""

import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from llama_operator.adapters.leases import NAME as LEASE
from llama_operator.api import API_GROUP, API_VERSION, KIND
from llama_operator.scopes.term import SECONDS
from testbed.cache import binaries
from tests.contract.support.apiserver import CRDS, ApiServer
from tests.contract.support.operators import OperatorProcess, operator, until
from tests.contract.support.stand import ACCOUNT, Stand
from tests.fakes.samples import CPU_SPEC

pytestmark = pytest.mark.apiserver


@pytest.fixture
def kubeconfig(stand: Stand, tmp_path: Path) -> Path:
    """The operator's account with the chart's rights in the namespace."""
    return stand.kubeconfig_of(ACCOUNT, tmp_path / "kubeconfig")


def a_deployment(stand: Stand, name: str = "chat", **meta: Any) -> None:
    about = {"name": name, "namespace": stand.namespace, **meta}
    stand.create({"apiVersion": API_VERSION, "kind": KIND, "metadata": about, "spec": CPU_SPEC})


def message(stand: Stand, name: str = "chat") -> str:
    return str(stand.get(KIND, name).get("status", {}).get("message", ""))


def holder(stand: Stand) -> str:
    found = stand.apiserver.rest.find(stand.namespace, "lease", LEASE)
    return str(found["spec"].get("holderIdentity", "")) if found else ""


def served(stand: Stand, one: OperatorProcess, name: str = "chat") -> None:
    until(lambda: "InspectingModel" in str(stand.get(KIND, name).get("status", {})), "a status", operators=(one,))


def test_an_operator_before_its_crds_waits_and_then_serves(
    apiserver: ApiServer, stand: Stand, kubeconfig: Path, *, tmp_path: Path
) -> None:
    apiserver.run("delete", "-f", str(CRDS))
    try:
        with operator(kubeconfig, stand.namespace, folder=tmp_path) as one:
            until(lambda: "not installed" in str(one.ready()), "it says what it lacks", operators=(one,))
            status, said = one.ready()
            assert status == 503
            assert said[stand.namespace].startswith(
                "the CRDs llamaadapters.llama-operator.dev, llamadeployments.llama-operator.dev and "
                "llamaweights.llama-operator.dev are not installed"
            )
            assert one.get("/live")[0] == 200
            apiserver.install_crds()
            a_deployment(stand)
            served(stand, one)
            assert one.ready()[0] == 200
    finally:
        apiserver.install_crds()


def test_a_namespace_that_is_missing_costs_no_other_anything(stand: Stand, kubeconfig: Path, tmp_path: Path) -> None:
    a_deployment(stand)
    with operator(kubeconfig, "nowhere", stand.namespace, folder=tmp_path) as one:
        served(stand, one)
        until(lambda: "nowhere" in one.ready()[1].get("nowhere", ""), "it says which", operators=(one,))
        status, said = one.ready()
        assert (status, said[stand.namespace]) == (200, "serves")
        assert said["nowhere"].startswith("namespace nowhere is gone, or the operator has no right in it: ")
        assert 'llama_operator_obstacles{namespace="nowhere"} 1' in one.get("/metrics")[1]


def test_a_missing_right_is_named_on_the_object_and_in_readiness(
    stand: Stand, kubeconfig: Path, tmp_path: Path
) -> None:
    a_deployment(stand)
    role = stand.get("role", ACCOUNT)
    rules = [rule for rule in role["rules"] if "jobs" not in rule["resources"]]
    stand.change("role", ACCOUNT, {"rules": rules})
    with operator(kubeconfig, stand.namespace, folder=tmp_path) as one:
        until(lambda: "list and watch jobs" in message(stand), "the object names it", operators=(one,))
        status, said = one.ready()
        assert (status, 'cannot list resource "jobs"' in said[stand.namespace]) == (503, True)
        conditions = {one["type"]: one for one in stand.get(KIND, "chat")["status"]["conditions"]}
        assert (conditions["Degraded"]["status"], conditions["Degraded"]["reason"]) == ("True", "ApiRejected")
        stand.change("role", ACCOUNT, {"rules": role["rules"]})
        served(stand, one)
        assert one.ready() == (200, {stand.namespace: "serves"})


def test_the_second_operator_stands_by_and_takes_over(stand: Stand, kubeconfig: Path, tmp_path: Path) -> None:
    a_deployment(stand)
    with operator(kubeconfig, stand.namespace, folder=tmp_path) as one:
        until(lambda: one.serves(stand.namespace), "the first serves", operators=(one,))
        with operator(kubeconfig, stand.namespace, folder=tmp_path, release="another") as other:
            until(lambda: "stands by" in str(other.ready()), "the second stands by", operators=(one, other))
            assert other.ready()[0] == 200, "else no rollout of the operators would come to its end"
            assert one.serves(stand.namespace)
            assert f'llama_operator_leader{{namespace="{stand.namespace}"}} 0.0' in other.get("/metrics")[1]
            assert "stands by" in other.log.read_text()
            calm(stand)
            one.end(signal.SIGTERM)
            took = until(lambda: holder(stand).startswith("another/"), "the second takes over", operators=(other,))
            record("SIGTERM", took)
            a_deployment(stand, "late")
            served(stand, other, "late")
            assert one.process.wait(20) == 0
            with operator(kubeconfig, stand.namespace, folder=tmp_path, release="third") as third:
                until(lambda: "stands by" in str(third.ready()), "the third stands by", operators=(other, third))
                other.end(signal.SIGKILL)
                took = until(lambda: holder(stand).startswith("third/"), "the third takes over", operators=(third,))
                record("SIGKILL", took)
                assert took > SECONDS / 2, "the lease was taken from a holder that might still write"


def calm(stand: Stand) -> None:
    """Nobody undoes the work of another: once all is written nothing is written any more."""
    seen: dict[str, str] = {}
    for _ in range(20):
        before, seen = seen, versions(stand)
        if before == seen:
            return
        time.sleep(0.5)
    raise AssertionError("the objects are written again and again")


def versions(stand: Stand) -> dict[str, str]:
    found = [stand.get(KIND, "chat"), *stand.children(f"{API_GROUP}/deployment=chat")]
    return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in found}


def record(what: str, seconds: float) -> None:
    print(f"{what}: taken over after {seconds:.2f} s")


def test_a_holder_that_was_stopped_writes_nothing_when_it_goes_on(
    stand: Stand, kubeconfig: Path, tmp_path: Path
) -> None:
    with operator(kubeconfig, stand.namespace, folder=tmp_path) as one:
        until(lambda: one.serves(stand.namespace), "the first serves", operators=(one,))
        with operator(kubeconfig, stand.namespace, folder=tmp_path, release="another") as other:
            until(lambda: "stands by" in str(other.ready()), "the second stands by", operators=(one, other))
            one.end(signal.SIGSTOP)
            a_deployment(stand)
            until(lambda: holder(stand).startswith("another/"), "the second takes over", operators=(other,))
            served(stand, other)
            calm(stand)
            before = versions(stand)
            one.end(signal.SIGCONT)
            until(lambda: "stands by" in str(one.ready()), "the first stands by", operators=(one, other))
            assert versions(stand) == before
            assert other.serves(stand.namespace)


@pytest.fixture
def controllers(apiserver: ApiServer) -> Iterator[None]:
    """Those that end a namespace."""
    program = binaries.ensure(("kube-controller-manager",))["kube-controller-manager"]
    only = "--controllers=namespace-controller,garbage-collector-controller"
    argv = [str(program), f"--kubeconfig={apiserver.kubeconfig}", only, "--leader-elect=false", "--secure-port=0"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield
        process.terminate()


@pytest.mark.parametrize("operator_runs", [True, False])
@pytest.mark.usefixtures("controllers")
def test_a_namespace_ends_with_all_that_is_in_it(
    stand: Stand, kubeconfig: Path, tmp_path: Path, *, operator_runs: bool
) -> None:
    """The operator is in it too: it may go first, or see its objects go."""
    a_deployment(stand, finalizers=[f"{API_GROUP}/finalizer"])  # as an earlier version left it
    with operator(kubeconfig, stand.namespace, folder=tmp_path) as one:
        served(stand, one)
        until(lambda: not stand.get(KIND, "chat")["metadata"].get("finalizers"), "no finalizer", operators=(one,))
        if not operator_runs:
            one.end(signal.SIGKILL)
        stand.apiserver.rest.delete("", "namespace", stand.namespace)
        gone = lambda: stand.apiserver.rest.find("", "namespace", stand.namespace) is None  # noqa: E731
        until(gone, "the namespace is gone", operators=(one,))
        if operator_runs:
            until(lambda: one.ready()[0] == 503, "its only namespace is gone", operators=(one,))


def test_renewals_are_stamped_for_humans(stand: Stand, kubeconfig: Path, tmp_path: Path) -> None:
    with operator(kubeconfig, stand.namespace, folder=tmp_path) as one:
        until(lambda: one.serves(stand.namespace), "it serves", operators=(one,))
        spec = stand.get("lease", LEASE)["spec"]
        assert spec["leaseDurationSeconds"] == SECONDS
        assert datetime.fromisoformat(spec["renewTime"]).tzinfo is not None


@pytest.mark.usefixtures("controllers")
def test_a_lease_goes_with_the_rights_of_its_holder(stand: Stand, kubeconfig: Path, tmp_path: Path) -> None:
    """As in helm uninstall, where the rights go before the operator ends."""
    with operator(kubeconfig, stand.namespace, folder=tmp_path) as one:
        until(lambda: one.serves(stand.namespace), "it serves", operators=(one,))
        stand.apiserver.rest.delete(stand.namespace, "role", ACCOUNT)
        until(lambda: stand.apiserver.rest.find(stand.namespace, "lease", LEASE) is None, "no lease", operators=(one,))
        until(lambda: one.ready()[0] == 503, "it says what it lacks", operators=(one,))
