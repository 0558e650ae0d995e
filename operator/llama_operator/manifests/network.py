"""Parts of NetworkPolicies that several objects share."""

from llama_operator.manifests.common import Context
from llama_operator.ports import Manifest
from llama_serving.config import names


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
