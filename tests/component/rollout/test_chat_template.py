"""Parsers and a chat template in the spec: refused before a pod is made, rolled out, and the same until an edit."""

from typing import Any

import pytest

from llama_serving.config import names
from llama_serving.config.chat.facts import ChatFacts
from llama_serving.config.chat.inference import infer
from tests.fakes.models import digest_of
from tests.fakes.world import KEY, World, spec_of
from tests.unit.config.chat import templates

PLAIN = infer(templates.PLAIN, frozenset(), origin="chat_template.jinja")
LLAMA = infer(templates.LLAMA3_JSON, frozenset({"<|python_tag|>"}), origin="tokenizer_config.json")
CELL, TEMPLATE = "cell.json", "chat_template.jinja"


def world_of(chat: ChatFacts | None, **model: Any) -> World:
    spec = spec_of()
    world = World(spec | {"model": spec["model"] | model})
    world.nodes.behave("v1", chat=chat)
    return world


def give_template(world: World, text: str, *, key: str = TEMPLATE) -> None:
    world.cluster.give("ConfigMap", "templates", data={key: text})


def group_texts(world: World) -> dict[str, str]:
    """The chat template in the ConfigMap of each group."""
    bodies = {name: body for (kind, name), body in world.cluster.objects.items() if kind == "ConfigMap"}
    return {name: body["data"][TEMPLATE] for name, body in bodies.items() if TEMPLATE in (body.get("data") or {})}


async def test_what_is_inferred_is_shown_and_makes_no_pod_different() -> None:
    known, unknown = world_of(LLAMA), world_of(None)
    await known.settle()
    await unknown.settle()
    assert known.stage_names() == unknown.stage_names()
    model = known.status.model
    assert model is not None
    assert model.chat is not None
    assert (model.chat.tools, model.chat.template) == ("llama3_json", "tokenizer_config.json")
    assert model.chat.reasoning_reason == "the chat template has no reasoning"
    assert unknown.status.model is not None
    assert unknown.status.model.chat is None
    config = known.cluster.objects["ConfigMap", known.stage_names()[0].rpartition("-")[0]]["data"][CELL]
    assert "tools" not in config
    assert "chat_template" not in config


@pytest.mark.parametrize(
    ("chat", "model", "words"),
    [
        (PLAIN, {"tools": "llama3_json"}, "spec.model.tools is llama3_json, which needs the token <|python_tag|>"),
        (PLAIN, {"tools": "hermes"}, "chat_template.jinja puts no tools into the prompt"),
        (LLAMA, {"reasoning": "deepseek_r1"}, "spec.model.reasoning is deepseek_r1, which needs the token <think>"),
    ],
)
async def test_a_parser_that_does_not_fit_asks_for_no_device(
    chat: ChatFacts, model: dict[str, Any], words: str
) -> None:
    world = world_of(chat, **model)
    await world.seconds(20)
    assert world.stage_names() == []
    assert world.status.reason == "ToolsRefused"
    assert words in world.status.message


async def test_a_parser_that_does_not_fit_touches_nothing_that_serves() -> None:
    world = world_of(PLAIN)
    await world.settle()
    before = world.stage_uids()
    world.cluster.edit(KEY, lambda spec: spec["model"].update(tools="llama3_json"))
    await world.seconds(10)
    assert world.status.rollout is not None
    assert (world.status.rollout.phase, world.status.rollout.reason) == ("Held", "ToolsRefused")
    assert (world.status.groups_ready, world.stage_uids()) == ("2/2", before)
    world.cluster.edit(KEY, lambda spec: spec["model"].update(tools="auto"))
    await world.settle()
    assert world.stage_uids() == before


async def test_weights_without_facts_are_left_to_their_cell() -> None:
    world = world_of(None, tools="llama3_json")
    await world.settle()
    assert world.status.groups_ready == "2/2"


async def test_a_template_of_a_config_map_is_copied_to_each_group() -> None:
    world = world_of(PLAIN, tools="hermes", chatTemplate={"configMap": "templates"})
    give_template(world, templates.HERMES)
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert list(group_texts(world).values()) == [templates.HERMES] * 2
    assert world.status.model is not None
    assert world.status.model.chat is not None
    assert world.status.model.chat.template == f"ConfigMap templates, key {TEMPLATE}"
    assert world.status.model.chat.tools == "hermes"
    for name in world.stage_names():
        volume = next(one for one in world.cluster.objects["Pod", name]["spec"]["volumes"] if one["name"] == "config")
        assert TEMPLATE in [item["path"] for item in volume["configMap"]["items"]]
        config = world.cluster.objects["ConfigMap", volume["configMap"]["name"]]["data"][CELL]
        assert f'"chat_template":"{names.CHAT_TEMPLATE_PATH}"' in config.replace(": ", ":")


async def test_another_text_replaces_the_groups_and_the_same_text_elsewhere_does_not() -> None:
    world = world_of(PLAIN, chatTemplate={"configMap": "templates"})
    give_template(world, templates.HERMES)
    await world.settle()
    before = world.stage_uids()
    give_template(world, templates.HERMES, key="other")
    world.cluster.edit(KEY, lambda spec: spec["model"].update(chatTemplate={"configMap": "templates", "key": "other"}))
    await world.settle()
    assert world.stage_uids() == before
    give_template(world, templates.PYTHONIC, key="other")
    await world.settle()
    assert not set(world.stage_uids().values()) & set(before.values())
    assert world.status.groups_ready == "2/2"
    assert set(group_texts(world).values()) == {templates.PYTHONIC}


async def test_a_deleted_config_map_changes_no_group_and_a_lost_group_comes_back_with_its_text() -> None:
    world = world_of(PLAIN, chatTemplate={"configMap": "templates"})
    give_template(world, templates.HERMES)
    await world.settle()
    before = world.stage_uids()
    del world.cluster.given["ConfigMap", "templates"]
    await world.seconds(10)
    assert world.stage_uids() == before
    assert "the ConfigMap templates does not exist in namespace team" in world.status.message
    assert "spec.model.chatTemplate.configMap" in world.status.message
    world.cluster.vanish("Pod", world.stage_names()[0])
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert set(group_texts(world).values()) == {templates.HERMES}
    give_template(world, templates.HERMES)
    after = world.stage_uids()
    await world.settle()
    assert world.stage_uids() == after


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (None, "ReferenceMissing", "the ConfigMap templates does not exist in namespace team"),
        ({"other": "x"}, "ReferenceMissing", "has no key chat_template.jinja"),
        ({TEMPLATE: ""}, "ToolsRefused", "is empty; put the chat template there"),
        ({TEMPLATE: "x" * 65537}, "ToolsRefused", "has 65537 bytes, of a chat template at most 65536 are taken"),
    ],
)
async def test_a_template_that_cannot_be_had_is_named_before_a_pod_is_made(
    data: dict[str, str] | None, reason: str, words: str
) -> None:
    world = world_of(PLAIN, chatTemplate={"configMap": "templates"})
    if data is not None:
        world.cluster.give("ConfigMap", "templates", data=data)
    await world.seconds(20)
    assert world.stage_names() == []
    assert world.status.reason == reason
    assert words in world.status.message
    give_template(world, templates.HERMES)
    await world.settle()
    assert world.status.groups_ready == "2/2"


async def test_back_to_the_models_own_template() -> None:
    world = world_of(PLAIN, chatTemplate={"configMap": "templates"})
    give_template(world, templates.HERMES)
    await world.settle()
    world.cluster.edit(KEY, lambda spec: spec["model"].pop("chatTemplate"))
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert group_texts(world) == {}
    assert digest_of("v1") == (world.status.stable.digest if world.status.stable else "")
