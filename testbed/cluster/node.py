"""How a node is started: its processes' arguments and configuration files, computed from the spec.

A node is a first process in network, mount and process namespaces of its own; container runtime, kubelet and
kube-proxy are put into them. When the first process ends the kernel ends all others and removes mounts and links.
"""

import json
import sys
from pathlib import Path
from typing import Final

from testbed.cache.folder import REPOSITORY
from testbed.cluster import gpu_runtime
from testbed.cluster.controlplane import NODE_LOST_S, Folders
from testbed.cluster.spec import CLUSTER_DOMAIN, Node, Spec
from testbed.cluster.units import Unit

PAUSE_IMAGE: Final = "localhost/llama-testbed-pause:1"
CNI_PLUGINS: Final = "/usr/lib/cni"
PROXY_HEALTH_PORT: Final = 10256
READY_FILE: Final = "run/node-ready"
# Programs that put a node's processes into its namespaces and wait for them outside.
PARENTS: Final = frozenset({"unshare", "nsenter"})
# Folders that each node has for itself, in memory. Programs write there whatever their settings say: namespaces of
# pods and sockets of shims (/run), links to logs (/var/log), results of CNI, sockets of device plugins.
COVERED: Final = ("/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet")
# Mounts made on the host later must appear in the node (slave), the node's own must stay there.
_NAMESPACES: Final = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "slave")


def holder(node: Node) -> str:
    """Name of the unit that is the node's first process."""
    return f"{node.name}/pause"


def enter(pid: int) -> tuple[str, ...]:
    """Arguments that run a program in the namespaces of a node's first process."""
    return ("nsenter", f"--target={pid}", "--mount", "--pid", "--net", "--")


def units(spec: Spec, node: Node, folders: Folders) -> tuple[Unit, ...]:
    """Return the node's processes, in the order in which they start."""
    inside = holder(node)
    home = folders.node(node.name)
    runtime = ("containerd", f"--config={home}/containerd.toml")
    kubelet = [
        folders.program("kubelet"),
        f"--kubeconfig={folders.base}/{node.name}.kubeconfig",
        f"--config={home}/kubelet.json",
        f"--root-dir={home}/kubelet",
        f"--cert-dir={home}/pki",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
    ]
    proxy = [
        folders.program("kube-proxy"),
        f"--kubeconfig={folders.base}/proxy.kubeconfig",
        f"--hostname-override={node.name}",
        "--proxy-mode=iptables",
        # What does not come from a pod is masqueraded: so the host can reach Services through a node.
        f"--cluster-cidr={spec.pod_cidr}",
        f"--healthz-bind-address={node.address}:{PROXY_HEALTH_PORT}",
        # Limits of connection tracking belong to the whole machine.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    ]
    return (
        Unit(name=inside, argv=(folders.program("pause"), "node", *COVERED), wrapper=_NAMESPACES, grace_s=1.0),
        Unit(name=f"{node.name}/containerd", argv=runtime, depends=(containerd_config(folders, node),), inside=inside),
        Unit(
            name=f"{node.name}/kubelet",
            argv=tuple(kubelet),
            depends=(kubelet_config(spec, node, folders),),
            inside=inside,
        ),
        Unit(name=f"{node.name}/kube-proxy", argv=tuple(proxy), inside=inside),
        _policies(spec, node, folders),
    )


def policies(node: Node) -> str:
    """Name of the unit that enforces NetworkPolicies on the node."""
    return f"{node.name}/policies"


def _policies(spec: Spec, node: Node, folders: Folders) -> Unit:
    code = REPOSITORY / "testbed" / "policies"
    return Unit(
        name=policies(node),
        argv=(
            sys.executable,
            "-m",
            "testbed.policies.agent",
            f"--kubeconfig={folders.base}/policies.kubeconfig",
            f"--authority={folders.pki}/ca.crt",
            f"--node={node.name}",
            f"--trusted={spec.node_cidr}",
        ),
        depends=tuple(path.read_text() for path in sorted(code.glob("*.py"))),
        inside=holder(node),
        wrapper=("env", f"PYTHONPATH={REPOSITORY}"),
    )


def socket(folders: Folders, node: Node) -> Path:
    """Socket of the node's container runtime; it lies in the node's folder, so the host reaches it too."""
    return folders.node(node.name) / "containerd.sock"


def gpu_folder(folders: Folders, node: Node) -> Path:
    """Folder of the node that containers of the runtime for GPUs see."""
    return folders.node(node.name) / "gpu"


def gpu_specification(folders: Folders, node: Node) -> Path:
    """File with which containers of the runtime for GPUs begin."""
    return folders.node(node.name) / "gpu-runtime.json"


def containerd_config(folders: Folders, node: Node) -> str:
    """Return containerd's configuration."""
    home = folders.node(node.name)
    return f"""version = 2
root = "{home}/containerd"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{socket(folders, node)}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Not every machine lets its root lower a process's score; runc then fails without naming the reason.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{home}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
{gpu_runtime.containerd_config(gpu_specification(folders, node))}"""


def cni_config(node: Node) -> str:
    """Return the pods' network: a cable from each pod to its node, routed.

    Not a bridge: pods on one bridge answer each other directly, past the address translation of Services, unless
    the kernel also filters bridged packets, which is a module and a setting of the whole machine.
    """
    ipam = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": node.pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}, indent=1)


def kubelet_config(spec: Spec, node: Node, folders: Folders) -> str:
    """Return kubelet's configuration."""
    home = folders.node(node.name)
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{folders.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": f"unix://{socket(folders, node)}",
        "clusterDNS": [spec.dns_address],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": "/dev/null",
        "maxPods": 60,
        "podLogsDir": f"{home}/pod-logs",
        "volumePluginDir": f"{home}/volume-plugins",
        # A lost node is noticed after NODE_LOST_S, so signs of life must come more often.
        "nodeLeaseDurationSeconds": NODE_LOST_S,
        "nodeStatusUpdateFrequency": "5s",
        # Changed configuration and secrets reach pods in seconds.
        "syncFrequency": "10s",
        # The machine's disk is shared with everything else: the bed must not empty nodes because others fill it.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }
    return json.dumps(config, indent=1)
