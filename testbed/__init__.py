"""A real Kubernetes for the tests: a control plane in seconds, or whole with nodes, on one Linux machine."""

from testbed.bed import Bed, PodProcess
from testbed.errors import BedError

__all__ = ["Bed", "BedError", "PodProcess"]
