"""The declarative config that makes Serve run the cell's one replica.

Same cell config, same document: Serve does nothing when it is sent twice, and swaps weights in place when only
``user_config`` differs.
"""

from typing import Any, Final

from llama_serving.cell.entrypoints import SERVE_APP
from llama_serving.cell.shared.engine_args import bundle, bundle_selectors, devices
from llama_serving.config.cell import CellConfig, WeightsRef

APP_NAME: Final = "llama"
DEPLOYMENT_NAME: Final = "cell"

_UNLIMITED: Final = 100_000  # requests wait in the gateway and in the engine's own queue, not in Serve


def serve_document(config: CellConfig, weights: WeightsRef) -> dict[str, Any]:
    """Return the body of ``PUT /api/serve/applications/``: the cell, and the weights that its engine is to hold."""
    return {
        # The replica has a server of its own.
        "proxy_location": "Disabled",
        "applications": [
            {
                "name": APP_NAME,
                "route_prefix": "/",
                "import_path": SERVE_APP,
                "args": {"config": config.model_dump_json()},
                "deployments": [{"name": DEPLOYMENT_NAME, "user_config": weights.model_dump()}],
            }
        ],
    }


def deployment_options(config: CellConfig) -> dict[str, Any]:
    """Return the options of the deployment: where its replica and the stages go, and how Serve watches it."""
    return {
        "name": DEPLOYMENT_NAME,
        "num_replicas": 1,
        # The replica itself needs no slot: it lives in the first bundle, beside the first rank.
        "ray_actor_options": {"num_cpus": 0},
        "placement_group_bundles": [bundle(config)] * devices(config),
        "placement_group_strategy": "PACK",
        "placement_group_bundle_label_selector": bundle_selectors(config),
        "max_ongoing_requests": _UNLIMITED,
        "health_check_period_s": 1,
        "health_check_timeout_s": 30,
        "graceful_shutdown_timeout_s": 5,
        "graceful_shutdown_wait_loop_s": 0.2,
    }
