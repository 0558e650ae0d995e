"""Parts of NetworkPolicies that several objects share."""

from typing import Final

from llama_operator.manifests.common import Context
from llama_operator.plan.settings import Settings
from llama_operator.ports import Manifest
from llama_serving.config import names

#: Addresses of which some belong to the node and to the cloud under it (metadata), never to a source.
LINK_LOCAL: Final = "169.254.0.0/16"
LINK_LOCAL_6: Final = "fe80::/10"


def tcp(port: int) -> Manifest:
    """Return a TCP port of a NetworkPolicy."""
    return {"port": port, "protocol": "TCP"}


def operator_peer(context: Context) -> Manifest:
    """Select the operator's own pods."""
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": context.settings.operator_namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": names.MANAGED_BY}},
    }


def metrics_peers() -> list[Manifest]:
    """Select who may read metrics: namespaces with the label, and pods with it in the deployment's own namespace.

    In any other namespace the label of a pod counts nothing: whoever may create a pod would let himself in.
    """
    labelled = {"matchLabels": {names.LABEL_METRICS: "enabled"}}
    return [{"namespaceSelector": labelled}, {"podSelector": labelled}]


def dns_egress() -> Manifest:
    """Allow DNS, wherever the cluster runs it."""
    return {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def api_server_egress(settings: Settings) -> Manifest:
    """Allow the API server's ports anywhere: a policy cannot name it, and its address changes."""
    return {"ports": [tcp(port) for port in settings.api_server_ports]}


def source_egress(settings: Settings, *, own_identity: bool) -> list[Manifest]:
    """Allow what may be a source of weights; which one it is stands in a Secret too, so only networks can be named.

    Link-local addresses are left out, where a cloud gives every pod the node's identity; ``own_identity``: a cloud
    gives the pod one of its own there. Pods are named beside the networks: some implementations count none of them to
    any network.
    """
    if settings.source_cidrs:
        return [{"to": [{"ipBlock": {"cidr": cidr}} for cidr in settings.source_cidrs]}]
    nets = (("0.0.0.0/0", LINK_LOCAL), ("::/0", LINK_LOCAL_6))
    blocks = [{"cidr": cidr, **({} if own_identity else {"except": [left_out]})} for cidr, left_out in nets]
    return [{"to": [*({"ipBlock": block} for block in blocks), {"namespaceSelector": {}}]}]
