"""How long a loop is idle, what a coroutine takes of it, and that neither keeps anything alive."""

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator

import pytest

from llama_serving.common.transports import end_cycle
from llama_serving.gateway.connections.loop_time import Measured, measured_loop


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_loop_that_waits_is_idle_and_one_that_works_is_not() -> None:
    loop, idle = measured_loop()

    async def wait_and_work() -> tuple[float, float]:
        begun = idle()
        await asyncio.sleep(0.2)
        waited = idle() - begun
        time.sleep(0.2)  # noqa: ASYNC251  # work that keeps the loop
        await asyncio.sleep(0)
        return waited, idle() - begun - waited

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        waited, while_working = runner.run(wait_and_work())
    assert waited > 0.19
    assert while_working < 0.1


class Measure:
    """A clock that stands still but for ``work``, and what was measured by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.matters = True
        self.steps: list[float] = []

    def of(self, coroutine: object) -> "Measured[int]":
        return Measured(coroutine, clock=lambda: self.now, matters=lambda: self.matters, measure=self.steps.append)  # type: ignore[arg-type]


async def test_each_step_is_measured_and_waiting_is_not() -> None:
    measure = Measure()

    async def steps() -> int:
        measure.now += 1
        await asyncio.sleep(0)
        measure.now += 2
        await asyncio.sleep(0.001)
        measure.now += 3
        return 7

    async def other() -> None:
        measure.now += 100

    got, _ = await asyncio.gather(measure.of(steps()), other())
    assert got == 7
    assert measure.steps == [1, 2, 3]


async def test_what_begins_while_it_does_not_matter_is_not_measured() -> None:
    measure = Measure()
    measure.matters = False

    async def steps() -> int:
        measure.now += 1
        await asyncio.sleep(0)
        measure.matters = True
        measure.now += 2
        await asyncio.sleep(0)
        measure.now += 4
        return 7

    assert await measure.of(steps()) == 7
    assert measure.steps == [4]


async def test_an_error_goes_through_and_its_step_is_measured() -> None:
    measure = Measure()

    async def fails() -> int:
        measure.now += 1
        raise LookupError("x")

    with pytest.raises(LookupError, match="x"):
        await measure.of(fails())
    assert measure.steps == [1]


async def test_a_cancellation_reaches_the_coroutine() -> None:
    measure, ended = Measure(), []

    async def waits() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            measure.now += 5
            await asyncio.sleep(0)
            ended.append(True)
        return 0

    async def run() -> int:
        return await measure.of(waits())

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
    assert sum(measure.steps) == 5


async def test_a_cancellation_that_is_caught_lets_the_coroutine_go_on() -> None:
    async def stubborn() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return 3

    async def run() -> int:
        return await Measure().of(stubborn())

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == 3


@pytest.mark.usefixtures("no_collector")
async def test_a_cancelled_coroutine_leaves_nothing_to_the_garbage_collector() -> None:
    class Held:
        pass

    async def waits(_: Held) -> int:
        await asyncio.Event().wait()
        return 0

    async def run(held: Held) -> int:
        return await Measure().of(waits(held))

    held = Held()
    seen = weakref.ref(held)
    task = asyncio.create_task(run(held))
    del held
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    del task
    await asyncio.sleep(0)
    assert seen() is None


@pytest.mark.usefixtures("no_collector")
async def test_a_transport_is_freed_when_its_connection_is_lost() -> None:
    lost, freed = asyncio.Event(), asyncio.Event()

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.append(weakref.ref(transport, lambda _: freed.set()))
            self.transport: asyncio.BaseTransport | None = transport

        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
            end_cycle(self.transport)
            self.transport = None
            lost.set()

    seen: list[weakref.ref[asyncio.BaseTransport]] = []
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.close()
    async with asyncio.timeout(10):
        await lost.wait()
        await freed.wait()
    server.close()
