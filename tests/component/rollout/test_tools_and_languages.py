"""A revision that breaks tools, or one language, gets no requests and is rolled back with its sentence.

A broken chat template is what a golden tool call meets most often: the model answers with text where it is to call.
"""

from typing import Any

import pytest

from llama_serving.config import names
from tests.fakes.models import digest_of
from tests.fakes.world import KEY, World, spec_of

WEATHER = {
    "prompt": "What is the weather in Paris?",
    "tools": [{"name": "get_weather", "parameters": '{"type": "object", "properties": {"city": {"type": "string"}}}'}],
    "expectCall": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
TOOLS = {"goldenPrompts": [{"prompt": "Capital of France?", "expect": "Paris"}, WEATHER]}
NO_CALL = (
    'golden prompt "What is the weather in Paris?" expected a call of get_weather with {"city": "Paris"},'
    ' got text "It is sunny."'
)


async def serving(**changes: Any) -> World:
    world = World(spec_of(**changes))
    world.nodes.start_seconds = 2
    await world.settle()
    assert world.status.groups_ready == "2/2"
    return world


def rotations(world: World) -> set[str]:
    """The weights that groups in rotation answer with, as gateways read them."""
    leaders = (pod for pod in world.cluster.pods() if pod["metadata"]["labels"].get(names.LABEL_STAGE) == "0")
    return {pod["metadata"].get("annotations", {}).get(names.ANNOTATION_WEIGHTS, "") for pod in leaders}


async def to_the_end(world: World) -> set[str]:
    """Let a rollout end; return all weights that were ever in rotation on the way."""
    seen: set[str] = set()
    for _ in range(90):
        await world.seconds(1)
        seen |= rotations(world)
    return {weights.partition("@")[0] for weights in seen if weights}


@pytest.mark.parametrize("edit", ["weights", "weights and pods"])
async def test_a_revision_that_breaks_tools_is_rolled_back(edit: str) -> None:
    world = await serving(verify=TOOLS)
    world.nodes.behave("v2", tools=False)

    def change(spec: dict[str, Any]) -> None:
        spec["model"]["revision"] = "v2"
        if edit != "weights":
            spec["contextLength"] = 1024

    world.cluster.edit(KEY, change)
    seen = await to_the_end(world)
    rollout = world.status.rollout
    assert rollout is not None
    assert (rollout.phase, rollout.reason) == ("Held", "VerifyFailed")
    assert NO_CALL in rollout.message
    assert "It is sunny" in world.status.message
    assert seen == {"v1"}, "no request ever met the revision that calls nothing"
    assert world.status.groups_ready == "2/2"


async def test_a_revision_that_calls_its_tools_goes_in() -> None:
    world = await serving(verify=TOOLS)
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))
    await world.settle()
    assert world.status.rollout is not None
    assert world.status.rollout.phase == "Done"
    assert {group.verify.golden for group in world.status.groups if group.verify} == {"2/2"}


async def test_a_first_revision_without_tools_gets_no_requests() -> None:
    world = World(spec_of(verify=TOOLS))
    world.nodes.behave("v1", tools=False)
    await world.settle()
    assert world.status.groups_ready == "0/2"
    assert world.status.reason == "VerifyFailed"
    assert NO_CALL in world.status.message


async def test_tools_that_are_asked_for_later_end_no_service() -> None:
    world = await serving()
    world.nodes.behave("v1", tools=False)
    world.cluster.edit(KEY, lambda spec: spec.update(verify=TOOLS))
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert world.status.reason == "VerifyFailed"
    assert NO_CALL in world.status.message


async def test_a_revision_that_forgot_one_language_is_rolled_back_though_its_mean_is_good() -> None:
    world = await serving()
    world.nodes.behave("v2", logprob=-3.4, thai=-4.7)
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))
    seen = await to_the_end(world)
    rollout = world.status.rollout
    assert rollout is not None
    assert (rollout.phase, rollout.reason) == ("Held", "VerifyFailed")
    assert (
        f"Thai fell by 1.20 nats per token, from -3.50 of {digest_of('v1')[:19]} to -4.70; 0.5 are allowed"
        in rollout.message
    )
    assert seen == {"v1"}
    group = world.status.groups[0]
    assert group.verify is not None
    assert group.verify.quality == "English -3.50, Thai -3.50"


@pytest.mark.parametrize("before", ["", "texts-1"])
async def test_a_serving_image_with_other_texts_fails_no_rollout(before: str) -> None:
    """``before`` is what the first image measured; the next one finds its own texts much less likely."""
    world = World(spec_of())
    world.nodes.start_seconds = 2
    world.nodes.cells.texts = before
    await world.settle()
    world.nodes.cells.texts = "texts-2"
    world.nodes.behave("v1", logprob=-9.0, thai=-9.0)
    world.cluster.edit(KEY, lambda spec: spec.update(images={"serving": "registry/serving:2"}))
    await world.settle()
    assert world.status.rollout is not None
    assert (world.status.rollout.phase, world.status.groups_ready) == ("Done", "2/2")
    known = world.status.baselines
    assert [one.digest for one in known] == [digest_of("v1")] * 2
    assert (known[1].texts, len(known[1].by_text)) == ("texts-2", 2)


async def test_json_that_is_none_touches_no_group_and_is_named() -> None:
    world = await serving()
    before = world.stage_uids()
    broken = {"goldenPrompts": [{"prompt": "Who?", "schema": '{"type": "object",}'}]}
    world.cluster.edit(KEY, lambda spec: spec.update(verify=broken, contextLength=1024))
    await world.seconds(5)
    assert world.status.reason == "SpecInvalid"
    assert world.status.message == (
        'spec.verify.goldenPrompts.0.schema is \'{"type": "object",}\': it is refused: must be a JSON object:'
        " Expecting property name enclosed in double quotes: line 1 column 19 (char 18); edit the object"
    )
    assert world.stage_uids() == before
    world.cluster.edit(KEY, lambda spec: spec.update(verify={}))
    await world.settle()
    assert world.status.groups_ready == "2/2"
