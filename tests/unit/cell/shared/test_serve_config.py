"""Serve's document and the options of its deployment."""

from typing import Any

from llama_serving.cell.shared.engine_args import bundle_selectors
from llama_serving.cell.shared.serve_config import deployment_options, serve_document
from llama_serving.config.cell import WeightsRef
from tests.unit.cell.worlds import OLD, config

GPU: dict[str, Any] = {"pipeline": 2, "tensor": 8, "device": "gpu"}


def test_each_bundle_is_pinned_to_the_pod_of_its_stage() -> None:
    assert bundle_selectors(config(**GPU)) == [{"stage": "0"}] * 8 + [{"stage": "1"}] * 8
    options = deployment_options(config(**GPU))
    assert options["placement_group_bundles"] == [{"GPU": 1, "CPU": 1}] * 16
    assert options["placement_group_bundle_label_selector"] == bundle_selectors(config(**GPU))
    assert options["ray_actor_options"] == {"num_cpus": 0}


def test_serves_document_is_a_function_of_the_config() -> None:
    document = serve_document(config(), OLD)
    assert document == serve_document(config(), OLD)
    [app] = document["applications"]
    assert app["import_path"] == "llama_serving.cell.replica.app:build"
    assert app["deployments"] == [{"name": "cell", "user_config": OLD.model_dump()}]
    assert WeightsRef.model_validate(OLD.model_dump()) == OLD
    assert document["proxy_location"] == "Disabled"
