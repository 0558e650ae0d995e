"""What leads to the gateways of a deployment from outside the cluster, as it was looked up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

HTTP_ROUTE: Final = "HTTPRoute"
INGRESS: Final = "Ingress"
#: Kind -> its group and version.
KINDS: Final[Mapping[str, str]] = {HTTP_ROUTE: "gateway.networking.k8s.io/v1", INGRESS: "networking.k8s.io/v1"}


@dataclass(frozen=True)
class ExposureView:
    """Which of these objects are there. Those of the deployment are among its children."""

    there: frozenset[str] = frozenset()  # kinds of which the deployment has an object
    missing: frozenset[str] = frozenset()  # kinds that the cluster does not have
    denied: Mapping[str, str] = field(default_factory=dict)  # kind -> the API server's words, where it may not be read
