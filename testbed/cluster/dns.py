"""The cluster's DNS: CoreDNS on the host, behind the Service `kube-dns`.

Names outside the cluster and addresses it does not know are answered "no such name" at once: the bed has no way
out, and a resolver that waits for an answer would slow every start that looks up its own address.
"""

from typing import Any, Final

from testbed.cluster.controlplane import Folders
from testbed.cluster.spec import CLUSTER_DOMAIN, Spec
from testbed.cluster.units import Unit

_LABELS: Final = {"app.kubernetes.io/name": "coredns", "app.kubernetes.io/managed-by": "llama-testbed"}


def corefile(spec: Spec, folders: Folders) -> str:
    """Return CoreDNS's configuration."""
    return f"""{CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
    bind {spec.host_address}
    errors
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {folders.base}/dns.kubeconfig
        ttl 1
    }}
}}
. {{
    bind {spec.host_address}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def unit(spec: Spec, folders: Folders) -> Unit:
    """Return CoreDNS's process."""
    path = folders.base / "Corefile"
    argv = (folders.program("coredns"), f"-conf={path}")
    return Unit(name="coredns", argv=argv, depends=(corefile(spec, folders),))


def manifests(spec: Spec) -> dict[str, dict[str, Any]]:
    """Return the objects that DNS needs, by API path."""
    rbac, core = "/apis/rbac.authorization.k8s.io/v1", "/api/v1/namespaces/kube-system"
    name = "system:coredns"
    return {
        f"{rbac}/clusterroles/{name}": _role(name),
        f"{rbac}/clusterrolebindings/{name}": _binding(name),
        f"{core}/services/kube-dns": _service(spec),
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns": _endpoints(spec),
    }


def _role(name: str) -> dict[str, Any]:
    verbs = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": verbs},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
    ]
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    return {**head, "metadata": {"name": name, "labels": _LABELS}, "rules": rules}


def _binding(name: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": _LABELS},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "apiGroup": group, "name": name}],
    }


def _ports() -> list[dict[str, Any]]:
    return [{"name": f"dns-{p.lower()}", "port": 53, "protocol": p} for p in ("TCP", "UDP")]


def _service(spec: Spec) -> dict[str, Any]:
    ports = [{**port, "targetPort": 53} for port in _ports()]
    metadata = {"name": "kube-dns", "namespace": "kube-system", "labels": _LABELS}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"clusterIP": spec.dns_address, "ports": ports},
    }


def _endpoints(spec: Spec) -> dict[str, Any]:
    labels = {**_LABELS, "kubernetes.io/service-name": "kube-dns"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [spec.host_address], "conditions": {"ready": True}}],
        "ports": _ports(),
    }
