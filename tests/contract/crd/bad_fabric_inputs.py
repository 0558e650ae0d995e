"""What the API server must refuse of places, devices, networks, variables and accounts: see bad_inputs.py."""

from typing import Any, Final

from tests.contract.crd.bad_inputs import VALID_WEIGHTS, BadInput

MULTUS: Final = "k8s.v1.cni.cncf.io/networks"


def _spec(name: str, expect: str, **sections: Any) -> BadInput:
    return BadInput(name, {"spec": sections}, expect)


PLACES: Final = (
    _spec("runtime that is no name", "must be the name of a RuntimeClass", placement={"runtimeClassName": "kata; id"}),
    _spec("scheduler that is no name", "must be the name of a scheduler", placement={"schedulerName": "My Scheduler"}),
    *(
        _spec(f"{field} {label}", f"placement.{field} must be a label of nodes", placement={field: label})
        for field in ("stagesTogether", "groupsApart")
        for label in ("rack", "a b/c", "kubernetes.io/arch", "node-role.kubernetes.io/control-plane")
    ),
    *(
        _spec(name, expect, placement={"nodeAffinity": {"required": [{"matchExpressions": [expression]}]}})
        for name, expect, expression in (
            ("no operator", "operator: Required value", {"key": "zone"}),
            ("unknown operator", "Unsupported value", {"key": "zone", "operator": "Near"}),
            ("key that is no label", "key must be the name of a label", {"key": "a b", "operator": "Exists"}),
            ("In without values", "with operator In or NotIn (key is zone)", {"key": "zone", "operator": "In"}),
            (
                "Exists with values",
                "with operator Exists or DoesNotExist (key is zone)",
                {"key": "zone", "operator": "Exists", "values": ["a"]},
            ),
            ("Gt without a number", "one whole number with", {"key": "gen", "operator": "Gt", "values": ["new"]}),
            ("value that is none", "must be label values", {"key": "zone", "operator": "In", "values": ["a b"]}),
        )
    ),
    _spec(
        "term without conditions", "at least 1", placement={"nodeAffinity": {"required": [{"matchExpressions": []}]}}
    ),
    _spec(
        "weight of a preference too high",
        "less than or equal to 100",
        placement={
            "nodeAffinity": {"preferred": [{"weight": 101, "matchExpressions": [{"key": "a", "operator": "Exists"}]}]}
        },
    ),
    _spec(
        "affinity to the pods of others",
        'unknown field "spec.placement.podAffinity"',
        placement={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
    ),
)

FABRIC: Final = (
    *(
        _spec(f"extra device {name}", "device.extra must have names of network devices", device={"extra": {name: 1}})
        for name in (
            "cpu",
            "memory",
            "pods",
            "ephemeral-storage",
            "smarter-devices/fuse",
            "devices.kubevirt.io/kvm",
            "requests.nvidia.com/gpu",
            "nvidia.com/mig-1g.10gb",
            "nvidia.com/gpu.shared",
            "rdma/hca;id",
        )
    ),
    *(
        _spec(f"extra number {value}", "a count from 1 to 64", device={"extra": {"rdma/hca": value}})
        for value in (0, -1, 65, "1500m", "all")
    ),
    *(
        _spec(f"huge pages of {size}", "a size from 2Mi to 1Ti", device={"extra": {"hugepages-2Mi": size}})
        for size in ("1Ki", "9Ei", "many")
    ),
    _spec(
        "extra device that is the device",
        "(it is nvidia.com/hostdev)",
        device={"resource": "nvidia.com/hostdev", "extra": {"nvidia.com/hostdev": 1}},
    ),
    _spec(
        "claim template that is no name",
        "device.claimTemplate must be the name of a ResourceClaimTemplate",
        device={"claimTemplate": "other/gpus"},
    ),
    _spec("capability by name", 'unknown field "spec.device.capabilities"', device={"capabilities": ["SYS_ADMIN"]}),
    *(
        _spec(f"variable {name}", "engine.nccl must have variables of its list", engine={"nccl": {name: value}})
        for name, value in (
            ("LD_PRELOAD", "/models/evil.so"),
            ("PYTHONPATH", "/models"),
            ("NCCL_NET_PLUGIN", "/models/evil.so"),
            ("NCCL_TUNER_PLUGIN", "evil"),
            ("NCCL_TOPO_FILE", "/etc/passwd"),
            ("NCCL_DEBUG_FILE", "/weights/model.safetensors"),
            ("NCCL_CONF_FILE", "/models/nccl.conf"),
            ("UCX_MODULE_DIR", "/models"),
            ("VLLM_PLUGINS", "evil"),
            ("nccl_debug", "INFO"),
        )
    ),
    *(
        _spec(f"{name}={value}", expect, engine={"nccl": {name: value}})
        for name, value, expect in (
            ("NCCL_IB_DISABLE", "yes", "must be 0 or 1"),
            ("NCCL_IB_GID_INDEX", "three", "must be a whole number"),
            ("NCCL_P2P_LEVEL", "FAR", "must be LOC, NVL, PIX, PXB, PHB or SYS"),
            ("NCCL_DEBUG", "ALL", "NCCL_DEBUG must be VERSION, WARN, INFO or TRACE"),
            ("NCCL_SOCKET_FAMILY", "AF_UNIX", "must be AF_INET or AF_INET6"),
            ("NCCL_SOCKET_IFNAME", "$(id)", "must be interfaces, such as =eth0"),
            ("GLOO_SOCKET_IFNAME", "../eth0", "must be interfaces, such as =eth0"),
            ("NCCL_IB_HCA", "/dev/infiniband/uverbs0", "must be network cards, such as mlx5_0:1"),
            ("UCX_TLS", "rc;id", "must be words, such as INIT,NET"),
        )
    ),
    _spec("variable as a list", "must be of type integer,string", engine={"nccl": {"NCCL_ALGO": ["Ring"]}}),
    *(
        _spec(f"network {value}", "must be names of networks", network={"annotations": {MULTUS: value}})
        for value in ("kube-system/storage", '[{"name": "a", "namespace": "b"}]', "", "rail0;rail1", "Rail0")
    ),
    _spec(
        "annotation that is no network",
        "network.annotations must have keys of",
        network={"annotations": {"v1.multus-cni.io/default-network": "kube-system/open"}},
    ),
    _spec(
        "interfaces of GKE as a word",
        "must be a list of interfaces",
        network={"annotations": {"networking.gke.io/interfaces": "rdma-0"}},
    ),
    _spec(
        "other default interface",
        "must be eth0",
        network={"annotations": {"networking.gke.io/default-interface": "eth1"}},
    ),
    _spec(
        "network in two places",
        "must not have a key of network.annotations",
        network={"annotations": {MULTUS: "rail0"}},
        podTemplate={"annotations": {MULTUS: "rail1"}},
    ),
    *(
        _spec(f"{path} network of others", "without a namespace and not as JSON", **sections)
        for path, sections in (
            ("pods:", {"podTemplate": {"annotations": {MULTUS: "kube-system/a"}}}),
            ("gateway:", {"gateway": {"podTemplate": {"annotations": {MULTUS: "kube-system/a"}}}}),
        )
    ),
    *(
        _spec(f"{path} other default network", "must not have v1.multus-cni.io/default-network", **sections)
        for path, sections in (
            ("pods:", {"podTemplate": {"annotations": {"v1.multus-cni.io/default-network": "a"}}}),
            ("gateway:", {"gateway": {"podTemplate": {"annotations": {"v1.multus-cni.io/default-network": "a"}}}}),
        )
    ),
    _spec(
        "account of another namespace",
        "model.serviceAccountName must be the name of a ServiceAccount",
        model={"serviceAccountName": "kube-system/default"},
    ),
    BadInput(
        "weights: account of another namespace",
        {"spec": {"serviceAccountName": "kube-system/default"}},
        "serviceAccountName must be the name of a ServiceAccount",
        base=VALID_WEIGHTS,
    ),
)

BAD_FABRIC_INPUTS: Final = (*PLACES, *FABRIC)
