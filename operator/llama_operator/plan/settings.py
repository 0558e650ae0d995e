"""What the operator's own installation decides: images and where it runs itself."""

from dataclasses import dataclass

#: Behind the Service of the API server: managed clusters, kubeadm, minikube, MicroK8s.
API_SERVER_PORTS = (443, 6443, 8443, 16443)


@dataclass(frozen=True)
class Settings:
    """From the environment of the operator's pod; see the chart."""

    serving_image: str
    gateway_image: str
    operator_namespace: str
    serving_gpu_image: str = ""  # of stages on devices other than the CPU; empty: none is known
    label_required: bool = False  # Secrets that are sent to sources need names.LABEL_SOURCE; the chart says so
    api_server_ports: tuple[int, ...] = API_SERVER_PORTS  # on which pods reach the API server
    source_cidrs: tuple[str, ...] = ()  # networks with sources of weights; empty: all but link-local addresses
    log_format: str = "text"  # of what the operator starts: text, or json
    #: Networks whose addresses a source may have though they are not public; empty: none.
    source_networks: tuple[str, ...] = ()
    #: Limits of a resolver's Job. What it keeps of a model's folder is bounded below this memory.
    resolver_cpu: str = "2"
    resolver_memory: str = "1Gi"


#: What the stager asks for beside the engine in each stage pod.
STAGER_REQUESTS = {"cpu": "50m", "memory": "128Mi"}
STAGER_MEMORY_LIMIT = "1Gi"
