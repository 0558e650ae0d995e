"""LoRA adapters in a whole small world: added, changed, refused, removed, while groups start and are lost."""

import itertools
import json
from typing import Any

from llama_serving.config import names
from llama_serving.config.gateway import AdapterLoad
from tests.fakes.adapters import adapter_objects
from tests.fakes.world import KEY, Crash, World, spec_of


def world(*adapters: str, held: int = 0, **changes: Any) -> World:
    """A deployment with version 1 of these adapters; ``held``: most that a group holds, where it is set."""
    limits = {"adapterLimits": {"held": held, "slots": 1}} if held else {}
    made = World(spec_of(adapters=[{"name": name, "adapter": f"{name}-1"} for name in adapters], **limits, **changes))
    for name in adapters:
        give(made, name)
    return made


def give(made: World, name: str, version: int = 1) -> None:
    """A LlamaAdapter that is resolved."""
    for body in adapter_objects(f"{name}-{version}"):
        made.cluster.objects[body["kind"], body["metadata"]["name"]] = body


def notes(made: World) -> list[dict[str, str]]:
    """What the leaders' annotations say, by group."""
    leaders = [pod for pod in made.cluster.pods() if pod["metadata"]["labels"].get(names.LABEL_STAGE) == "0"]
    return [json.loads(pod["metadata"].get("annotations", {}).get(names.ANNOTATION_ADAPTERS, "{}")) for pod in leaders]


def listed(made: World) -> list[tuple[str, str]]:
    """What gateways find beside their config."""
    data = made.cluster.objects["ConfigMap", "chat-gateway"]["data"]
    return [(one["name"], one.get("refused", "")) for one in json.loads(data["models.json"])["adapters"]]


def use(made: World, *adapters: str) -> None:
    spec = [dict(zip(("name", "adapter"), (one.rpartition("-")[0], one), strict=True)) for one in adapters]
    made.cluster.edit(KEY, lambda found: found.update(adapters=spec))


def digest_of(name: str, version: int = 1) -> str:
    digest: str = adapter_objects(f"{name}-{version}")[0]["status"]["digest"]
    return digest


def id_of(name: str, version: int = 1) -> str:
    return f"v1@{digest_of(name, version).removeprefix('sha256:')[:12]}"


async def test_every_group_has_all_adapters_before_its_first_request() -> None:
    made = world("style", "tone")
    await made.settle()
    all_ = {"style": id_of("style"), "tone": id_of("tone")}
    assert notes(made) == [all_, all_]
    assert listed(made) == [("style", ""), ("tone", "")]
    made.cluster.vanish("Pod", made.stage_names()[0])
    await made.settle()
    assert notes(made) == [all_, all_]
    assert list(made.nodes.announced.values()) == [{"style", "tone"}] * 3
    assert made.nodes.broken == []


async def test_an_adapter_is_added_and_removed_while_groups_serve() -> None:
    made = world("style")
    await made.settle()
    pods = made.stage_uids()
    gateway = made.cluster.objects["Deployment", "chat-gateway"]["spec"]
    give(made, "tone")
    use(made, "style-1", "tone-1")
    await made.settle()
    assert notes(made) == [{"style": id_of("style"), "tone": id_of("tone")}] * 2
    use(made, "tone-1")
    await made.settle()
    assert notes(made) == [{"tone": id_of("tone")}] * 2
    assert listed(made) == [("tone", "")]
    assert made.stage_uids() == pods, "no group was restarted"
    assert made.cluster.objects["Deployment", "chat-gateway"]["spec"] == gateway, "nor a gateway"
    assert made.nodes.broken == []


async def test_new_bytes_reach_one_group_first_and_the_name_answers_at_every_moment() -> None:
    made = world("style")
    await made.settle()
    give(made, "style", 2)
    use(made, "style-2")
    seen = []
    for _ in range(30):
        await made.seconds(1)
        seen.append([one["style"] for one in notes(made)])
    old, new = id_of("style"), id_of("style", 2)
    assert [new, old] in seen
    assert [old, new] not in seen
    assert seen[-1] == [new, new]
    assert made.nodes.broken == []


async def test_bytes_that_the_first_group_refuses_reach_no_other() -> None:
    made = world("style")
    await made.settle()
    give(made, "style", 2)
    made.nodes.cells.bad_adapters.add((0, digest_of("style", 2)))
    use(made, "style-2")
    for _ in range(40):
        await made.seconds(1)
        assert [one["style"] for one in notes(made)] == [id_of("style")] * 2
    assert made.nodes.broken == []


async def test_one_that_every_group_refuses_is_said_to_the_gateways_and_holds_up_no_group() -> None:
    made = world("style", "bad")
    for ordinal in (0, 1):
        made.nodes.cells.bad_adapters.add((ordinal, digest_of("bad")))
    await made.settle()
    assert notes(made) == [{"style": id_of("style")}] * 2
    assert listed(made) == [("style", ""), ("bad", "its golden prompt fails")]
    assert made.status.groups_ready == "2/2"


async def test_after_a_swap_of_the_base_a_group_opens_with_adapters_that_were_verified_on_it() -> None:
    made = world("style", "tone")
    await made.settle()
    pods = made.stage_uids()
    made.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))
    await made.settle()
    assert len(made.nodes.cells.swaps) == 2
    assert made.stage_uids() == pods
    assert notes(made) == [{"style": id_of("style"), "tone": id_of("tone")}] * 2
    assert made.nodes.broken == []


async def test_of_more_than_fit_a_group_holds_what_is_asked_for() -> None:
    made = world("style", "tone", held=1, replicas=1)
    await made.settle()
    assert notes(made) == [{"style": id_of("style")}]
    assert made.status.groups_ready == "1/1"
    await made.seconds(20)
    assert notes(made) == [{"style": id_of("style")}], "nothing moves without a request"
    assert made.pause <= 1, "a request that waits for the other one sends no event"
    made.nodes.adapter_traffic = {"tone": AdapterLoad(waiting=1), "style": AdapterLoad(idle=90)}
    seen: list[str] = []
    while len(seen) < 30 and not (seen and "tone" in seen[-1]):
        await made.seconds(1)
        seen.append("".join(notes(made)[0]))
    assert [one for number, one in enumerate(seen) if seen[number - 1 : number] != [one]] == ["", "tone"]
    made.nodes.adapter_traffic = {"tone": AdapterLoad(idle=5), "style": AdapterLoad(idle=95)}
    await made.seconds(20)
    assert notes(made) == [{"tone": id_of("tone")}]
    assert made.nodes.broken == []


async def test_an_operator_that_is_killed_again_and_again_leaves_the_same() -> None:
    """It dies at every seventh call during a change of adapters, and another one goes on from what is seen."""
    made = world("style")
    await made.settle()
    give(made, "style", 2)
    give(made, "tone")
    use(made, "style-2", "tone-1")
    calls = itertools.count(1)

    def dying(_: str) -> None:
        if next(calls) % 7 == 0:
            raise Crash

    made.cluster.intercept = dying
    for _ in range(90):
        await made.seconds(1)
        assert all("style" in one for one in notes(made))
    assert notes(made) == [{"style": id_of("style", 2), "tone": id_of("tone")}] * 2
    assert made.nodes.broken == []


async def test_a_deployment_without_adapters_has_no_file_and_no_annotation() -> None:
    made = World()
    await made.settle()
    assert list(made.cluster.objects["ConfigMap", "chat-gateway"]["data"]) == ["gateway.json"]
    assert notes(made) == [{}, {}]
