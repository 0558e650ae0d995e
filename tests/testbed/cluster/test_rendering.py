"""Configuration files and arguments, as the programs will read them."""

import json
import tomllib
from pathlib import Path

from testbed.cluster import controlplane, dns, gpu_runtime, kwok, network, node, own
from testbed.cluster.units import Unit
from tests.testbed.cluster.worlds import PLACE, spec


def by_name(units: tuple[Unit, ...]) -> dict[str, Unit]:
    return {unit.name: unit for unit in units}


def test_a_control_plane_alone_is_two_processes() -> None:
    assert [unit.name for unit in own.wanted_units(spec(nodes=0), PLACE, tokens="")] == ["etcd", "kube-apiserver"]


def test_the_whole_bed_in_the_order_in_which_it_starts() -> None:
    names = [unit.name for unit in own.wanted_units(spec(nodes=1, kwok=4), PLACE, tokens="")]
    assert names == [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "coredns",
        "node-1/pause",
        "node-1/containerd",
        "node-1/kubelet",
        "node-1/kube-proxy",
        "node-1/policies",
        "kwok",
    ]


def test_the_runtime_for_gpus_brings_a_folder_of_the_node_and_leaves_the_rest(tmp_path: Path) -> None:
    default = {
        "ociVersion": "1.0.2",
        "process": {"cwd": "/", "env": ["PATH=/bin"]},
        "mounts": [{"destination": "/proc"}],
    }
    gpu_runtime.make_folder(tmp_path)
    found = json.loads(gpu_runtime.specification(default, tmp_path))
    assert found["process"]["env"] == ["PATH=/bin", *gpu_runtime.ENVIRONMENT]
    assert found["process"]["cwd"] == "/"
    proc, *added = found["mounts"]
    assert proc == {"destination": "/proc"}
    assert all(Path(one["source"]).is_dir() and "ro" in one["options"] for one in added)
    assert [one["destination"] for one in added] == ["/opt/gpu", "/opt/app/tests", "/opt/app/fake_gpu-0.dist-info"]


def test_the_nodes_have_the_runtime_for_gpus_beside_the_default_one() -> None:
    config = tomllib.loads(node.containerd_config(PLACE, spec().nodes[0]))
    runtimes = config["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
    assert sorted(runtimes) == ["nvidia", "runc"]
    assert runtimes["nvidia"]["base_runtime_spec"] == str(node.gpu_specification(PLACE, spec().nodes[0]))
    assert "base_runtime_spec" not in runtimes["runc"]


def test_the_api_server_checks_what_a_production_one_checks() -> None:
    argv = by_name(controlplane.core_units(spec(), PLACE, tokens=""))["kube-apiserver"].argv
    assert "--authorization-mode=Node,RBAC" in argv
    assert "--enable-admission-plugins=NodeRestriction,PodSecurity" in argv
    assert "--anonymous-auth=false" in argv
    assert not any("disable-admission" in argument for argument in argv)


def test_alone_it_admits_pods_without_a_service_account() -> None:
    argv = by_name(controlplane.core_units(spec(nodes=0), PLACE, tokens=""))["kube-apiserver"].argv
    assert "--disable-admission-plugins=ServiceAccount" in argv
    assert "--bind-address=127.0.0.1" in argv


def test_new_tokens_restart_the_api_server_only() -> None:
    before, after = (by_name(own.wanted_units(spec(), PLACE, tokens=text)) for text in ("a", "b"))
    assert [name for name in before if before[name].digest != after[name].digest] == ["kube-apiserver"]


def test_token_file_gives_nodes_their_identity() -> None:
    lines = controlplane.token_file({"admin": "s1", "node-1": "s2"}).splitlines()
    assert lines == ['s1,admin,admin,"system:masters"', 's2,system:node:node-1,node-1,"system:nodes"']


def test_kubeconfig_is_complete_without_files() -> None:
    config = json.loads(controlplane.kubeconfig(spec(), authority="QUJD", token="secret"))
    assert config["clusters"][0]["cluster"] == {
        "server": "https://10.213.3.1:6443",
        "certificate-authority-data": "QUJD",
    }
    assert config["users"][0]["user"] == {"token": "secret"}
    assert config["current-context"] == "testbed-here"


def test_every_request_is_audited_once() -> None:
    policy = json.loads(controlplane.audit_policy())
    assert policy["rules"] == [{"level": "Metadata"}]
    assert policy["omitStages"] == ["RequestReceived"]


def test_kubelet_config_keeps_the_node_to_itself() -> None:
    one = spec()
    config = json.loads(node.kubelet_config(one, one.nodes[1], PLACE))
    assert config["cgroupRoot"] == "/llama-testbed/here/node-2"
    assert config["clusterDNS"] == ["10.213.131.10"]
    assert config["containerRuntimeEndpoint"] == "unix:///bed/nodes/node-2/containerd.sock"
    assert config["failCgroupV1"] is False
    assert config["authentication"]["anonymous"] == {"enabled": False}


def test_signs_of_life_come_often_enough_for_the_time_after_which_a_node_is_lost() -> None:
    config = json.loads(node.kubelet_config(spec(), spec().nodes[0], PLACE))
    renewals = config["nodeLeaseDurationSeconds"] / 4  # kubelet renews after a quarter
    assert renewals * 3 < controlplane.NODE_LOST_S


def test_a_nodes_processes_enter_its_namespaces() -> None:
    units = node.units(spec(), spec().nodes[0], PLACE)
    assert [unit.inside for unit in units] == ["", *["node-1/pause"] * 4]
    assert units[0].wrapper[:4] == ("unshare", "--net", "--mount", "--pid")


def test_pods_are_routed_not_bridged() -> None:
    config = json.loads(node.cni_config(spec().nodes[0]))
    assert [plugin["type"] for plugin in config["plugins"]] == ["ptp", "portmap"]
    assert config["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.217.1.0/24"}]]


def test_dns_answers_what_it_does_not_know_at_once() -> None:
    text = dns.corefile(spec(), PLACE)
    assert "rcode NXDOMAIN" in text
    assert "forward" not in text
    paths = dns.manifests(spec())
    service = paths["/api/v1/namespaces/kube-system/services/kube-dns"]
    assert service["spec"]["clusterIP"] == "10.213.131.10"


def test_the_host_reaches_services_through_a_node_and_gets_no_rules() -> None:
    commands = network.route_commands(spec())
    assert commands == [
        "route replace 10.217.1.0/24 via 10.213.3.11",
        "route replace 10.217.2.0/24 via 10.213.3.12",
        "route replace 10.213.131.0/24 via 10.213.3.11",
    ]


def test_a_node_refuses_what_leads_out_of_the_bed() -> None:
    commands = network.node_commands(spec(nodes=3), spec(nodes=3).nodes[1])
    assert "route replace unreachable default" in commands
    assert [line for line in commands if " via " in line] == [
        "route replace 10.213.131.0/24 via 10.213.3.1",
        "route replace 10.217.1.0/24 via 10.213.3.11",
        "route replace 10.217.3.0/24 via 10.213.3.13",
    ]


def test_a_bridge_that_is_there_is_not_made_again() -> None:
    assert network.bridge_commands(spec(), present=set())[0] == "link add ltb3 type bridge forward_delay 0"
    assert not any("link add" in line for line in network.bridge_commands(spec(), present={"ltb3"}))


def test_made_up_nodes() -> None:
    assert kwok.names(2) == ["kwok-1", "kwok-2"]
    assert kwok.surplus(["node-1", "kwok-1", "kwok-9"], count=2) == ["kwok-9"]
    manifest = kwok.manifest("kwok-1")
    assert manifest["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert manifest["spec"]["taints"] == [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]
