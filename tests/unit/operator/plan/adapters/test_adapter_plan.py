"""Which adapters a group gets, how much room there is, and what is said of the others."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api import AdapterLimitsStatus, LlamaDeploymentSpec
from llama_operator.observe.deployment import AdapterView, Snapshot
from llama_operator.plan.adapters.choice import choose_adapters
from llama_operator.plan.adapters.fit import misfit
from llama_operator.plan.adapters.limits import adapter_limits, engine_rank
from llama_operator.plan.adapters.placement import AdapterRoom, adapters_of_group, obstacle
from llama_operator.reconcile import Bodies, snapshot
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.model import ENGINE_RANKS
from tests.fakes.adapters import view
from tests.fakes.models import FACTS
from tests.fakes.world import spec_of

LIMITS = AdapterLimits(slots=4, held=16, max_rank=16)


def seen(*views: AdapterView, **spec: Any) -> Snapshot:
    listed = [{"name": one.name, "adapter": one.name} for one in views]
    asked = {"metadata": {"namespace": "team", "name": "chat"}, "spec": spec_of(**{"adapters": listed, **spec})}
    return replace(snapshot(Bodies(asked, ())), adapters={one.name: one for one in views})


def wanted(found: Snapshot, limits: AdapterLimits | None = LIMITS) -> list[str]:
    return [one.adapter.name for one in adapters_of_group(choose_adapters(found), AdapterRoom(limits, FACTS))]


def test_a_group_gets_those_of_the_spec_in_its_order_and_none_without_room() -> None:
    found = seen(view("b"), view("a"))
    assert wanted(found) == ["b", "a"]
    assert wanted(found, None) == []
    (first, _) = adapters_of_group(choose_adapters(found), AdapterRoom(LIMITS, FACTS))
    assert (first.layers, first.source, first.adapter.rank) == (30, "pvc://models/b", 16)
    assert first.adapter.id == f"v1@{first.adapter.digest[7:19]}"


def test_more_than_a_group_holds_are_cut_off() -> None:
    assert wanted(seen(*(view(name) for name in "abc")), LIMITS.model_copy(update={"held": 2})) == ["a", "b"]


def test_a_selector_adds_those_with_its_labels_by_name() -> None:
    team = {"labels": {"team": "sql"}}
    found = seen(view("z"), adapterSelector={"matchLabels": {"team": "sql"}})
    found = replace(found, adapters={**found.adapters, "y": view("y", **team), "x": view("x", **team), "w": view("w")})
    assert wanted(found) == ["z", "x", "y"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"refused": "adapter_config.json has use_dora True"}, "adapter_config.json has use_dora True"),
        ({"spec": {"source": "pvc://other/a"}}, "lies on claim other, the stage pods mount models"),
        (
            {"spec": {"source": "hf://a/b", "credentialsSecret": "token"}},
            "needs the credentials of Secret token, the stage pods have none",
        ),
        ({"spec": {"source": "hf://a/b", "serviceAccountName": "sa"}}, "is read as ServiceAccount sa"),
        (
            {"rank": 17},
            "its rank is 17, and the engines have room for ranks up to 16: set spec.adapterLimits.maxRank to 32",
        ),
        ({"layers": 31}, "it has matrices for layer 30, and the base has 30 layers"),
        ({"vocabulary": 49153}, "has token 49152, and the base has 49152 tokens"),
        ({"width": 2048}, "its lora_A of q_proj is 16 x 2048, and the base needs 16 x 576"),
        (
            {"target_modules": ({"name": "k_proj", "inputs": 576, "outputs": 576},)},
            "its lora_B of k_proj is 576 x 16, and the base needs 192 x 16",
        ),
    ],
)
def test_one_that_does_not_fit_is_left_out_and_the_others_stay(fields: dict[str, Any], sentence: str) -> None:
    found = seen(view("bad", **fields), view("good"))
    assert wanted(found) == ["good"]
    assert sentence in obstacle(choose_adapters(found)[0], AdapterRoom(LIMITS, FACTS))


def test_an_object_that_is_not_there_is_named() -> None:
    found = replace(seen(view("gone"), view("good")), adapters={"good": view("good")})
    assert wanted(found) == ["good"]
    assert choose_adapters(found)[0].message.startswith("there is no LlamaAdapter gone in namespace team: apply it")


def test_a_selected_one_takes_no_name_of_another() -> None:
    selector = {"matchLabels": {"team": "sql"}}
    found = seen(view("a"), adapterSelector=selector, adapters=[{"name": "b", "adapter": "a"}])
    found = replace(found, adapters={**found.adapters, "b": view("b", labels={"team": "sql"})})
    assert wanted(found) == ["b"]
    assert "its name is that of LlamaAdapter a" in choose_adapters(found)[1].message


def test_the_width_of_the_mlp_is_compared_where_it_is_known() -> None:
    made = view("a", target_modules=({"name": "up_proj", "inputs": 576, "outputs": 1536},))
    assert made.facts is not None
    assert misfit(made.facts, FACTS) == ""
    assert misfit(made.facts, FACTS.model_copy(update={"intermediate_size": 1536})) == ""
    other = misfit(made.facts, FACTS.model_copy(update={"intermediate_size": 2048}))
    assert "its lora_B of up_proj is 1536 x 16, and the base needs 2048 x 16" in other


def spec(**changes: Any) -> LlamaDeploymentSpec:
    return LlamaDeploymentSpec.model_validate(spec_of(**changes))


def test_without_adapters_there_is_no_room() -> None:
    before = AdapterLimitsStatus(slots=8, held=64, max_rank=64)
    assert adapter_limits(spec(), (), before=before) is None


@pytest.mark.parametrize(
    ("limits", "ranks", "expected"),
    [
        ({}, (), (4, 16, 16)),
        ({}, (8, 8, 8, 8, 17), (8, 16, 32)),
        ({}, (128,), (4, 16, 16)),
        ({}, (64, *[128] * 16), (8, 32, 64)),
        ({}, (8,) * 2000, (8, 64, 16)),
        ({"slots": 2, "held": 3, "maxRank": 320}, (8,) * 9, (2, 3, 320)),
        ({"slots": 32}, (8,), (32, 32, 16)),
        ({"held": 2}, (8,), (2, 2, 16)),
    ],
)
def test_room_follows_in_steps(limits: dict[str, int], ranks: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    found = adapter_limits(spec(adapterLimits=limits), ranks, before=None)
    assert found is not None
    assert (found.slots, found.held, found.max_rank) == expected
    assert found.limits() is not None


@given(st.lists(st.lists(st.integers(1, 512), max_size=80), max_size=12))
def test_room_never_shrinks_by_itself_and_takes_few_steps(history: list[list[int]]) -> None:
    before, changes = None, 0
    for ranks in history:
        found = adapter_limits(spec(adapterLimits={}), ranks, before=before)
        assert found is not None
        limits = found.limits()
        assert limits is not None
        assert limits.slots <= limits.held
        now = AdapterLimitsStatus(**limits.model_dump())
        if before:
            assert now.slots >= before.slots
            assert now.held >= before.held
            assert now.max_rank >= before.max_rank
            changes += now != before
        before = now
    assert changes <= 5


@given(st.integers(1, 512))
def test_the_engine_has_a_size_for_every_rank(rank: int) -> None:
    assert rank <= engine_rank(rank)
    assert engine_rank(rank) in ENGINE_RANKS
