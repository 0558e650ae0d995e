"""The Serve app of a cell: one deployment with one replica, on the leader.

Rule: nothing heavy is imported here. Serve runs ``build`` in a process of its own before the replica starts; the
replica's class is therefore named, not imported, and only the replica pays for importing vLLM (14 s saved at a start).
"""

from typing import Any

from ray import serve
from ray.serve import Application

from llama_serving.cell.entrypoints import REPLICA_CLASS
from llama_serving.cell.shared.serve_config import deployment_options
from llama_serving.config.cell import CellConfig


def build(args: dict[str, Any]) -> Application:
    """Build Serve's application; ``args["config"]`` is a ``CellConfig`` as JSON text."""
    config = CellConfig.model_validate_json(args["config"])
    # Serve takes an import path in place of the class, but only through the decorator's second call.
    deployment = serve.deployment(**deployment_options(config))(REPLICA_CLASS)
    return deployment.bind(config.model_dump_json())
