"""A control plane alone, for real: seconds to start, repaired after kills, nothing left."""

import json
import os
import signal
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import replace

import pytest

from testbed import Bed
from testbed.cluster import own, processes, store
from testbed.cluster.start import Start

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]
NAME = f"t{os.getpid()}"


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    try:
        own.up(NAME, nodes=0)
        yield Bed(NAME)
    finally:
        own.down(NAME)


def pid(unit: str) -> int:
    return int(own.status(NAME)[unit].removeprefix("pid "))


def test_it_answers_and_a_second_up_is_fast(bed: Bed) -> None:
    before = own.status(NAME)
    assert bed.request("GET", "/version")["minor"] == "37"
    began = time.monotonic()
    own.up(NAME, nodes=0)
    assert time.monotonic() - began < 2
    assert own.status(NAME) == before


def test_a_write_is_in_the_audit_log_when_the_answer_is_there(bed: Bed) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "written"}}
    bed.request("POST", "/api/v1/namespaces/default/configmaps", body)
    events = [json.loads(line) for line in bed.audit_log.read_text().splitlines()]
    (event,) = [e for e in events if e.get("objectRef", {}).get("name") == "written"]
    assert (event["verb"], event["user"]["username"], event["objectRef"]["resource"]) == (
        "create",
        "admin",
        "configmaps",
    )


def test_pod_security_is_enforced(bed: Bed) -> None:
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": label}}
    bed.request("POST", "/api/v1/namespaces", namespace)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "lax"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    with pytest.raises(urllib.error.HTTPError, match="violates PodSecurity") as refused:
        bed.request("POST", "/api/v1/namespaces/strict/pods", pod)
    refused.value.close()


@pytest.mark.usefixtures("bed")
def test_nobody_is_let_in_without_a_token() -> None:
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        replace(own.api(own.existing(NAME)), token="x").request("GET", "/api/v1/namespaces")
    refused.value.close()


@pytest.mark.parametrize("killed", [["kube-apiserver"], ["etcd", "kube-apiserver"], ["etcd"]])
def test_up_repairs_what_was_killed_and_keeps_the_objects(bed: Bed, killed: list[str]) -> None:
    name = "-".join(["kept", *killed])
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    bed.request("POST", "/api/v1/namespaces/default/configmaps", body)
    before = {unit: pid(unit) for unit in ("etcd", "kube-apiserver")}
    for unit in killed:
        os.kill(before[unit], signal.SIGKILL)
    own.up(NAME, nodes=0)
    assert {unit for unit in before if pid(unit) != before[unit]} == set(killed)
    assert bed.request("GET", f"/api/v1/namespaces/default/configmaps/{name}")["metadata"]["name"] == name


@pytest.mark.usefixtures("bed")
def test_up_starts_the_api_server_that_ends_because_its_etcd_was_killed() -> None:
    before = {unit: pid(unit) for unit in ("etcd", "kube-apiserver")}
    os.kill(before["etcd"], signal.SIGKILL)
    state = own.existing(NAME)
    begun = Start(state, place=own.folders(NAME), api=own.api(state), units=own.wanted_units)
    os.kill(before["kube-apiserver"], signal.SIGKILL)  # it does so by itself, some seconds later, now and then
    begun.run()
    assert all(pid(unit) != before[unit] for unit in before)


def test_kubectl_works_with_what_env_prints(bed: Bed) -> None:
    assert own.env(NAME)["KUBECONFIG"] == str(bed.kubeconfig)
    assert bed.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}") == "admin"


def test_two_instances_live_side_by_side_and_down_leaves_nothing(bed: Bed) -> None:
    other = f"{NAME}b"
    try:
        own.up(other, nodes=0)
        assert own.api(own.existing(other)).url != own.api(own.existing(NAME)).url
    finally:
        own.down(other)
    assert processes.found(other) == ()
    assert not store.instance_dir(other).exists()
    assert not store.etcd_dir(other).exists()
    assert bed.request("GET", "/readyz") == "ok"
    own.down(other)  # again: nothing to do, no error
