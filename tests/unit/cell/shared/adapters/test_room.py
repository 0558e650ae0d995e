"""Arguments of the engine for adapters, and how the engine calls one of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.cell.shared.adapters.engine_adapter import EngineAdapter
from llama_serving.cell.shared.adapters.room import adapter_kwargs, capacity
from llama_serving.cell.shared.engine_args import engine_kwargs
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.model import ENGINE_RANKS
from tests.unit.cell.worlds import config, facts


def test_an_engine_without_limits_is_the_one_it_was() -> None:
    kwargs = engine_kwargs(config(), model=facts())
    assert not [name for name in kwargs if "lora" in name]


def test_limits_become_room_with_one_place_for_a_change() -> None:
    limits = AdapterLimits(slots=2, held=5, max_rank=20)
    kwargs = engine_kwargs(config(adapters=limits), model=facts())
    assert {name: kwargs[name] for name in ("enable_lora", "max_loras", "max_cpu_loras", "max_lora_rank")} == {
        "enable_lora": True,
        "max_loras": 2,
        "max_cpu_loras": 6,
        "max_lora_rank": 32,
    }


@given(st.integers(1, 600), st.integers(1, 40), st.integers(1, 40))
def test_a_rank_is_rounded_up_and_slots_fit_into_what_is_held(rank: int, slots: int, held: int) -> None:
    limits = AdapterLimits(slots=slots, held=held, max_rank=rank)
    found = adapter_kwargs(limits)
    assert found["max_lora_rank"] >= rank
    assert found["max_lora_rank"] in (*ENGINE_RANKS, rank)
    assert found["max_cpu_loras"] == capacity(limits) > max(slots, held)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), min_size=2, max_size=2, unique=True))
def test_two_adapters_differ_in_all_by_which_the_engine_knows_them(keys: list[tuple[str, int]]) -> None:
    one, two = (EngineAdapter(name=name, digest=f"sha256:{digest:064x}"[::-1], id="x") for name, digest in keys)
    assert one.internal_name != two.internal_name
    assert one.number != two.number
    assert min(one.number, two.number) > 0
    assert max(one.number, two.number) < 2**31


@pytest.mark.parametrize("name", ["a", "org/model", "ä"])
def test_an_internal_name_is_no_name_of_a_user(name: str) -> None:
    assert EngineAdapter(name=name, digest="sha256:0123456789abcdefffff").internal_name == f"{name}@0123456789abcdef"
