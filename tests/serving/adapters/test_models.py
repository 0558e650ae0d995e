"""vLLM's own look-ups of a request's model, with the adapter that was chosen for the request."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [pytest.mark.serving, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

from llama_serving.cell.replica.adapters.table import CHOSEN  # noqa: E402
from llama_serving.cell.shared.adapters.engine_adapter import EngineAdapter  # noqa: E402

OLD = EngineAdapter(name="a", digest="sha256:" + "1" * 64, id="a@1")
NEW = EngineAdapter(name="a", digest="sha256:" + "2" * 64, id="a@2")


@pytest.fixture
def routes() -> Any:
    """What vLLM's routes have: its registry of models, and the class that looks models up."""
    from vllm.entrypoints.openai.models.protocol import BaseModelPath
    from vllm.entrypoints.openai.models.serving import OpenAIModelRegistry, OpenAIServingModels
    from vllm.entrypoints.serve.engine.serving import BaseServing as Serving

    from llama_serving.cell.replica.adapters.models import install_adapters

    paths = [BaseModelPath(name="llama", model_path="/m")]
    models = object.__new__(OpenAIServingModels)
    models.base_model_paths = paths
    models.registry = OpenAIModelRegistry(SimpleNamespace(max_model_len=512), paths)
    install_adapters(models, served=lambda: {"a": NEW})
    serving = object.__new__(Serving)
    serving.models = models
    serving.request_logger = None
    return serving


async def looked_up(routes: Any, model: str, *, chosen: EngineAdapter | None) -> tuple[bool, Any, str]:
    """Whether the model exists, the adapter that the engine is asked for, and the name in the answer."""
    CHOSEN.set(None if chosen is None else (model, chosen))
    await asyncio.sleep(0)
    request = SimpleNamespace(model=model)
    refused = await routes._check_model(request)
    if refused is not None:
        return False, refused.error.code, ""
    found = routes._maybe_get_adapters(request)
    return True, found, routes.models.model_name(found)


async def test_two_requests_for_one_name_get_what_was_chosen_for_each(routes: Any) -> None:
    first, second = await asyncio.gather(looked_up(routes, "a", chosen=OLD), looked_up(routes, "a", chosen=NEW))
    assert [found[1].lora_name for found in (first, second)] == [OLD.internal_name, NEW.internal_name]
    assert [found[1].lora_path for found in (first, second)] == [OLD.path, NEW.path]
    assert (first[2], second[2]) == ("a", "a")
    assert first[1] != second[1], "vLLM would take them for one in a batch"


async def test_what_was_not_chosen_does_not_exist(routes: Any) -> None:
    assert await looked_up(routes, "a", chosen=None) == (False, 404, "")
    assert await looked_up(routes, OLD.internal_name, chosen=None) == (False, 404, "")
    assert await looked_up(routes, "llama", chosen=None) == (True, None, "llama")


async def test_adapters_that_serve_are_listed_with_their_base(routes: Any) -> None:
    found = await routes.models.show_available_models()
    assert [(card.id, card.parent) for card in found.data] == [("llama", None), ("a", "llama")]
