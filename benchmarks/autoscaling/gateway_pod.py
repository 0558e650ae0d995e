"""The pod of a gateway on an API server without kubelets: it is ready at once."""

from typing import Any

from llama_operator.plan.naming import gateway_name
from llama_serving.config import names
from tests.contract.support.stand import Stand


def make_gateway_pod(stand: Stand, deployment: str, address: str) -> None:
    """Make the pod of a deployment's gateway that listens on this address."""
    labels = {
        names.LABEL_DEPLOYMENT: deployment,
        names.LABEL_COMPONENT: names.COMPONENT_GATEWAY,
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
    }
    pod = f"{gateway_name(deployment)}-0"
    meta = {"name": pod, "labels": labels}
    stand.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": _restricted_pod()})
    set_running(stand, pod, address, ready=True)


def set_running(stand: Stand, pod: str, address: str, *, ready: bool) -> None:
    """Write the status of a pod whose containers run."""
    conditions = [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": str(ready)}]
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
    stand.set_status("pod", pod, status)


def _restricted_pod() -> dict[str, Any]:
    inside = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "gateway", "image": "gateway:1", "securityContext": inside}],
    }
