"""A leader's adapters through the real loop and role: from the desired state to what the leader says of each."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llama_serving.cell.policy.staging import StageView
from llama_serving.cell.replica.adapters.table import Adapters
from llama_serving.cell.shared.adapters.engine_adapter import AdapterTable, EngineAdapter, engine_adapter
from llama_serving.cell.shared.adapters.room import capacity
from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.cell.supervisor.adapters.ends import EndsFile
from llama_serving.cell.supervisor.adapters.keeper import AdapterKeeper
from llama_serving.cell.supervisor.verification import EngineError
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.desired import (
    AdapterRef,
    DesiredState,
    GoldenPrompt,
    StagedWeights,
    StagingState,
    WantedAdapter,
)
from llama_serving.config.weights import Manifest
from tests.unit.cell.fakes import FakeEngine, replica
from tests.unit.cell.worlds import OLD, config

LIMITS = AdapterLimits(slots=1, held=2, max_rank=8)


def wanted(name: str, *, rank: int = 8) -> WantedAdapter:
    return WantedAdapter(
        adapter=AdapterRef(name=name, digest=f"sha256:{name * 64}", id=f"{name}@1", rank=rank),
        source="hf://x/y",
        manifest=Manifest(files=()),
        golden=(GoldenPrompt(prompt="Who?", expect=name, chat=False),),
    )


@dataclass
class Api:
    """The replica's routes in front of its real table."""

    engine: FakeEngine
    deadly: set[str] = field(default_factory=set)  # names that end the engine when they are loaded
    mute: set[str] = field(default_factory=set)  # names that answer something else
    silent: set[str] = field(default_factory=set)  # names whose load is not answered, by an engine that lives on
    calls: list[str] = field(default_factory=list)
    pid: int = 7
    ending: bool = False
    adapters: Adapters = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.adapters = Adapters(self, base_name="llama", base=OLD.id, capacity=capacity(LIMITS), tensor=1)
        self.publish()

    def publish(self) -> None:
        self.engine.state_now = replica(pid=self.pid, weights=OLD, adapters=self.adapters.loaded)

    async def load_adapter(self, _: EngineAdapter) -> tuple[()]:
        return ()

    async def unload_adapter(self, _: EngineAdapter) -> tuple[()]:
        return ()

    async def tell(self, table: AdapterTable) -> None:
        self.calls.append("tell")
        self.adapters.hold_table(table)
        self.publish()

    async def load(self, adapter: EngineAdapter) -> str:
        self.calls.append(f"load {adapter.name}")
        if adapter.name in self.deadly:
            self.ending = True  # its replica still answers
            raise EngineError("the replica refused /llama/adapters/load with status 500")
        if adapter.name in self.silent:
            raise EngineError("the replica did not answer /llama/adapters/load")
        error = await self.adapters.load(adapter)
        self.publish()
        return error

    async def unload(self, adapter: EngineAdapter) -> str:
        self.calls.append(f"unload {adapter.name}")
        error = await self.adapters.unload(adapter)
        self.publish()
        return error

    async def ask(self, _: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        name = str(body["model"]).partition("@")[0]
        self.calls.append(f"ask {name}")
        return {"choices": [{"text": "nobody" if name in self.mute else f"I am {name}"}]}


class World:
    def __init__(self, folder: Path, *names: str, deadly: tuple[str, ...] = (), mute: tuple[str, ...] = ()) -> None:
        self.api = Api(FakeEngine(), deadly=set(deadly), mute=set(mute))
        self.ends = EndsFile(folder / "links" / "ends.json")
        self.desired = DesiredState(serve=OLD, adapters=tuple(wanted(name) for name in names))
        self.ready = {item.adapter.digest for item in self.desired.adapters}
        self.start()

    def start(self) -> None:
        """The container's supervisor, again."""
        self.keeper = AdapterKeeper(
            config(adapters=LIMITS), api=self.api, engine=self.api.engine, ends=self.ends, sleep=self.waits
        )

    async def waits(self, _: float) -> None:
        """Let time pass: an engine that has ended is replaced by then."""
        if self.api.ending:
            self.api.ending = False
            self.api.pid += 1
            self.api.start()

    def stages(self) -> dict[int, StageView]:
        said = [
            StagedWeights(
                digest=item.adapter.digest,
                id="x",
                outcome="ready" if item.adapter.digest in self.ready else "working",
                message="1 of 2 MB",
            )
            for item in self.desired.adapters
        ]
        view = StageView(staging=StagingState(adapters=tuple(said)))
        return {0: view, 1: view}

    @property
    def state(self) -> ReplicaState | None:
        return self.api.engine.state_now

    async def looks(self, number: int = 30) -> dict[str, tuple[str, str]]:
        """So many turns of the loop; outcome and sentence of each adapter."""
        for _ in range(number):
            stages = self.stages() if self.keeper.needs_stages(self.desired) else {}
            self.keeper.see(self.desired, self.state, stages, act=True)
            for _ in range(20):
                await asyncio.sleep(0)
        return {found.name: (found.outcome, found.message) for found in self.keeper.progress()}


async def test_what_is_desired_and_staged_is_loaded_asked_and_served(tmp_path: Path) -> None:
    world = World(tmp_path, "a", "b")
    assert await world.looks() == {"a": ("ready", ""), "b": ("ready", "")}
    assert world.api.calls == ["tell", "load a", "ask a", "tell", "load b", "ask b", "tell"]
    assert world.api.adapters.choose("a").adapter == engine_adapter(wanted("a").adapter)
    [first, _] = world.keeper.progress()
    assert (first.base, first.golden[0].answer) == (OLD.id, "I am a")
    world.desired = DesiredState(serve=OLD, adapters=(wanted("b"),))
    assert await world.looks() == {"b": ("ready", "")}
    assert world.api.calls[7:] == ["tell", "unload a"]


async def test_what_is_not_staged_on_all_stages_waits_and_says_why(tmp_path: Path) -> None:
    world = World(tmp_path, "a")
    world.ready.clear()
    assert await world.looks() == {"a": ("staging", "stage 0: 1 of 2 MB")}
    world.ready.add(wanted("a").adapter.digest)
    assert await world.looks() == {"a": ("ready", "")}


async def test_another_engine_gets_all_adapters_anew(tmp_path: Path) -> None:
    world = World(tmp_path, "a")
    await world.looks()
    world.api.pid += 1
    world.api.start()
    world.keeper.see(world.desired, world.state, world.stages(), act=False)
    assert world.keeper.progress()[0].outcome == "loading"
    assert await world.looks() == {"a": ("ready", "")}


async def test_an_adapter_that_answers_something_else_is_refused_and_leaves(tmp_path: Path) -> None:
    world = World(tmp_path, "a", "b", mute=("a",))
    found = await world.looks()
    assert (found["a"][0], found["b"]) == ("refused", ("ready", ""))
    assert "1 of 1 golden prompts failed" in found["a"][1]
    assert [loaded.adapter.name for loaded in world.api.adapters.loaded] == ["b"]
    assert world.api.calls.count("load a") == 1


async def test_an_adapter_that_ended_the_engine_twice_is_left_out_even_if_the_container_ended_too(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, "a", "b", deadly=("a",))
    while world.api.calls.count("load a") < 1:
        await world.looks(1)
    world.start()
    found = await world.looks()
    assert found == {"a": ("refused", "the engine ended twice while loading a"), "b": ("ready", "")}
    assert world.api.calls.count("load a") == 2
    world.start()
    assert (await world.looks())["a"][0] == "refused"
    assert world.api.calls.count("load a") == 2


async def test_a_group_without_room_refuses_and_does_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, "a")
    world.keeper = AdapterKeeper(config(), api=world.api, engine=world.api.engine, ends=world.ends)
    assert await world.looks() == {"a": ("refused", "this group was started without capacity for adapters")}
    assert world.api.calls == []


async def test_a_load_without_an_answer_of_an_engine_that_lives_on_is_that_adapters_refusal(tmp_path: Path) -> None:
    world = World(tmp_path, "a", "b")
    world.api.silent.add("a")
    found = await world.looks()
    assert found == {"a": ("refused", "the replica did not answer /llama/adapters/load"), "b": ("ready", "")}
    assert world.ends.read() == {}
    world.api.silent.clear()
    world.ready.discard(wanted("a").adapter.digest)
    await world.looks(2)
    world.ready.add(wanted("a").adapter.digest)
    assert await world.looks() == {"a": ("ready", ""), "b": ("ready", "")}, "its files came anew"
