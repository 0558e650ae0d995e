"""What vLLM makes of the limits of a cell: its configuration, and the key by which it finds compiled code."""

from pathlib import Path
from typing import Any, get_args

import pytest

from llama_serving.cell.shared.adapters.room import MODULES, adapter_kwargs, capacity
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.model import ENGINE_RANKS

pytestmark = [pytest.mark.serving, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

LIMITS = AdapterLimits(slots=2, held=5, max_rank=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from testbed.models.tiny import make

    folder = tmp_path_factory.mktemp("room") / "tiny"
    make(folder, seed=1)
    return folder


def engine_config(model: Path, limits: AdapterLimits | None) -> Any:
    from vllm.engine.arg_utils import EngineArgs

    return EngineArgs(model=str(model), enforce_eager=True, **adapter_kwargs(limits)).create_engine_config()


def test_ranks_are_those_of_the_pinned_engine() -> None:
    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == ENGINE_RANKS


def test_limits_reach_the_engine_and_compiled_code_has_another_key_with_them(model: Path) -> None:
    without, with_room = engine_config(model, None), engine_config(model, LIMITS)
    found = with_room.lora_config
    assert (found.max_loras, found.max_cpu_loras, found.max_lora_rank) == (2, capacity(LIMITS), 8)
    assert found.target_modules == list(MODULES)
    higher = engine_config(model, LIMITS.model_copy(update={"max_rank": 16}))
    assert len({config.compute_hash() for config in (without, with_room, higher)}) == 3
    assert with_room.compute_hash() == engine_config(model, LIMITS).compute_hash()
