"""The engine core must join the cell's Ray cluster, on its own node.

Two faults of vLLM 0.32:

* vLLM hands ``RAY_ADDRESS`` to the engine core only where it switches the start method to "spawn" itself. The CPU
  platform has done that already, so the variable is not set and the engine core starts a second Ray on the leader
  (``KeyError: 'bundles_to_node_id'``).
* ``ray.init`` looks for the node whose address it guesses from the default route. Where the guess is wrong, as in a pod
  with a second network, it attaches to another stage's raylet and then binds that stage's address ("Cannot assign
  requested address").
"""

import os

import ray

NODE_IP_VARIABLE = "LLAMA_DRIVER_NODE_IP"


def export_driver_address() -> None:
    """In the replica: leave the cluster's address and this node's address in the environment of the engine core."""
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    os.environ[NODE_IP_VARIABLE] = ray.util.get_node_ip_address()


def connect_driver() -> None:
    """In the engine core: join the cluster that the replica named; nothing where Ray runs already.

    Raises:
        KeyError: the replica left no address.
    """
    if ray.is_initialized():
        return
    ray.init(address=os.environ["RAY_ADDRESS"], _node_ip_address=os.environ[NODE_IP_VARIABLE], log_to_driver=False)
