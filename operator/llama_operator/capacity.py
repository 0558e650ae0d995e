"""The capacity of the cluster, as far as a pass needs it."""

import logging

from llama_operator.ports import Capacity, Cluster, Retry

log = logging.getLogger(__name__)


async def cluster_capacity(cluster: Cluster) -> Capacity | None:
    """Return nodes and all pods; None where they are not known."""
    try:
        return await cluster.capacity()
    except Retry as error:  # a pass goes on without: it plans no surge, and its sentences have no amounts
        log.warning("the capacity of the nodes is not known: %s", error)
        return None
