"""Adapters of a deployment over whole passes: told to groups while they serve, and never a reason to take one down."""

from typing import Any

from llama_operator.api import ADAPTERS_KIND, ServedAdapterStatus
from llama_serving.config.desired import DesiredState
from tests.fakes.adapters import adapter_objects
from tests.fakes.world import KEY, World, spec_of


def world_with(*adapters: str, **changes: Any) -> World:
    """A world whose deployment lists these adapters; each is there and fits."""
    world = World(spec_of(adapters=[{"name": name, "adapter": name} for name in adapters], **changes))
    for name in adapters:
        make(world, name)
    return world


def make(world: World, name: str, **fields: Any) -> None:
    body, stored = adapter_objects(name, **fields)
    world.cluster.objects[ADAPTERS_KIND, name] = body
    world.cluster.objects["ConfigMap", stored["metadata"]["name"]] = stored


def ask(world: World, *adapters: str) -> None:
    listed = [{"name": name, "adapter": name} for name in adapters]
    world.cluster.edit(KEY, lambda spec: spec.update(adapters=listed))


def wishes(world: World) -> list[DesiredState]:
    return [cell.wish for cell in world.nodes.cells.cells.values() if cell.wish]


def statuses(world: World) -> dict[str, ServedAdapterStatus]:
    return {one.name: one for one in world.status.adapters}


async def test_every_stage_is_told_of_all_adapters_and_the_status_says_they_are_ready() -> None:
    world = world_with("sql", "law")
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert {tuple(one.adapter.name for one in wish.adapters) for wish in wishes(world)} == {("sql", "law")}
    assert [(one.state, one.groups_ready) for one in world.status.adapters] == [("Ready", "2/2"), ("Ready", "2/2")]
    condition = next(one for one in world.status.conditions if one.type == "AdaptersReady")
    assert (condition.status, condition.message) == ("True", "2 adapters are ready")
    limits = world.status.adapter_limits
    assert limits is not None
    assert (limits.slots, limits.held, limits.max_rank) == (4, 16, 16)


async def test_adapters_come_and_go_without_another_pod() -> None:
    world = world_with("sql")
    await world.settle()
    before = world.stage_uids()
    make(world, "law")
    ask(world, "law", "sql")
    await world.settle()
    assert {tuple(one.adapter.name for one in wish.adapters) for wish in wishes(world)} == {("law", "sql")}
    ask(world, "law")
    await world.settle()
    assert {tuple(one.adapter.name for one in wish.adapters) for wish in wishes(world)} == {("law",)}
    assert world.stage_uids() == before


async def test_a_higher_rank_replaces_the_groups_in_the_open() -> None:
    world = world_with("sql")
    await world.settle()
    before = world.stage_uids()
    make(world, "law", rank=32)
    ask(world, "sql", "law")
    await world.settle()
    assert not before.keys() & world.stage_uids().keys()
    assert statuses(world)["law"].state == "Ready"
    assert world.nodes.broken == []


async def test_what_is_wrong_with_one_takes_nothing_down() -> None:
    world = world_with("sql")
    await world.settle()
    before = world.stage_uids()
    make(world, "wide", width=2048)
    make(world, "dora", refused="adapter_config.json has use_dora True")
    world.nodes.cells.refused_adapters["mute"] = "golden prompt 1 of 1 failed"
    make(world, "mute")
    ask(world, "sql", "wide", "dora", "gone", "mute")
    await world.settle()
    found = statuses(world)
    assert {name: one.state for name, one in found.items()} == {
        "sql": "Ready", "wide": "LeftOut", "dora": "LeftOut", "gone": "LeftOut", "mute": "LeftOut",
    }  # fmt: skip
    assert "its lora_A of q_proj is 16 x 2048" in found["wide"].message
    assert found["gone"].reason == "AdapterMissing"
    assert "golden prompt 1 of 1 failed" in found["mute"].message
    assert world.stage_uids() == before
    conditions = {one.type: one.status for one in world.status.conditions}
    assert (conditions["Available"], conditions["AdaptersReady"], conditions["Stalled"]) == ("True", "False", "True")


async def test_without_adapters_nothing_of_them_is_written() -> None:
    world = World()
    await world.settle()
    assert world.status.adapters == ()
    assert world.status.adapter_limits is None
    files = [
        body["data"]["cell.json"] for body in world.cluster.objects.values() if "cell.json" in body.get("data", {})
    ]
    assert files
    assert not any("adapter" in text for text in files)
    assert "AdaptersReady" not in {one.type for one in world.status.conditions}


async def test_a_source_that_denies_an_adapter_is_said_of_the_adapter_and_not_of_the_weights() -> None:
    world = world_with("sql")
    make(world, "law", refused="GET https://hub was answered 401: name a Secret", word="WeightsDenied")
    ask(world, "sql", "law")
    await world.settle()
    assert (world.status.reason, statuses(world)["law"].reason) == ("AdapterRefused", "WeightsDenied")
    assert world.status.message.startswith("adapter law is left out: GET https://hub was answered 401")
    assert world.status.groups_ready == "2/2"


async def test_a_swap_of_the_base_keeps_the_adapters_that_fit() -> None:
    world = world_with("sql")
    await world.settle()
    before = world.stage_uids()
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))
    await world.settle()
    assert world.stage_uids() == before
    assert {tuple(one.adapter.name for one in wish.adapters) for wish in wishes(world)} == {("sql",)}
    assert [(one.state, one.groups_ready) for one in world.status.adapters] == [("Ready", "2/2")]


async def test_adapters_of_a_deployment_are_gone_with_the_last_of_them() -> None:
    world = world_with("sql")
    await world.settle()
    ask(world)
    await world.settle()
    assert {wish.adapters for wish in wishes(world)} == {()}
    assert world.status.adapter_limits is None
    assert world.status.groups_ready == "2/2"
