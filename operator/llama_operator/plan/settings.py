"""What the operator's own installation decides: images and where it runs itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """From the environment of the operator's pod; see the chart."""

    serving_image: str
    gateway_image: str
    operator_namespace: str
    serving_gpu_image: str = ""  # of stages on devices other than the CPU; empty: none is known
    log_format: str = "text"  # of what the operator starts: text, or json


#: What the stager asks for beside the engine in each stage pod.
STAGER_REQUESTS = {"cpu": "50m", "memory": "128Mi"}
STAGER_MEMORY_LIMIT = "1Gi"
