"""The loop of one object in virtual time: when it passes, what wakes it, and that nothing ends it but its stop."""

import asyncio
import functools
from collections.abc import Awaitable, Callable

import pytest

from llama_operator.loop import FLOOR, LONGEST, LONGEST_PASS, Heartbeat, backoff, run_loop
from llama_operator.ports import Key, Rejected, Retry
from tests.fakes.clock import in_virtual_time

KEY = Key("team", "chat")


class Rig:
    """A running loop whose passes are scripted; ``at`` holds the moments at which passes started."""

    def __init__(self, script: Callable[[int], Awaitable[float]]) -> None:
        self.at: list[float] = []
        self.wake = asyncio.Event()
        self.stopping = False
        self.clock = asyncio.get_running_loop().time
        self.heartbeat = Heartbeat(clock=self.clock)
        self.task = asyncio.create_task(self._run(script))

    async def _run(self, script: Callable[[int], Awaitable[float]]) -> None:
        async def one_pass() -> float:
            self.at.append(round(self.clock(), 3))
            return await script(len(self.at))

        await run_loop(KEY, wake=self.wake, stopped=lambda: self.stopping, one_pass=one_pass, heartbeat=self.heartbeat)

    async def end(self) -> None:
        self.stopping = True
        self.wake.set()
        await self.task


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        in_virtual_time(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


async def calm(_: int) -> float:
    return 15.0


@virtual
async def test_passes_come_at_the_asked_pace() -> None:
    rig = Rig(calm)
    await asyncio.sleep(46)
    assert rig.at == [0, 15, 30, 45]
    await rig.end()


@virtual
async def test_a_wake_up_starts_a_pass_at_once() -> None:
    rig = Rig(calm)
    await asyncio.sleep(7)
    rig.wake.set()
    await asyncio.sleep(1)
    assert rig.at == [0, 7]
    await rig.end()


@virtual
async def test_a_burst_is_merged() -> None:
    rig = Rig(calm)
    await asyncio.sleep(5)
    for _ in range(100):
        rig.wake.set()
        await asyncio.sleep(0.01)
    await asyncio.sleep(5)
    assert rig.at == [0, 5, 5.3, 5.6, 5.9, 6.2]  # FLOOR apart, and one after the last event
    await rig.end()


@pytest.mark.parametrize("moment", [0.0, 0.5, 0.999, 1.0, 1.1, 1.2999, 1.3, 1.31])
@virtual
async def test_no_wake_up_is_lost_whenever_it_comes(moment: float) -> None:
    """During a pass that takes a second, in the floor after it, or later."""

    async def slow(_: int) -> float:
        await asyncio.sleep(1.0)
        return 1000.0

    rig = Rig(slow)
    await asyncio.sleep(moment)
    set_at = rig.clock()
    rig.wake.set()
    await asyncio.sleep(10)
    assert any(at >= set_at for at in rig.at), f"set at {set_at}, passes at {rig.at}"
    assert len(rig.at) <= 2
    await rig.end()


@virtual
async def test_pauses_grow_while_passes_fail_and_shrink_at_once_after_success() -> None:
    async def fails_four_times(number: int) -> float:
        if number <= 4:
            raise RuntimeError("a bug")
        return 15.0

    rig = Rig(fails_four_times)
    await asyncio.sleep(31)
    assert rig.at == [0, 1, 3, 7, 15, 30]
    await rig.end()


def test_the_longest_pause() -> None:
    assert [backoff(n) for n in (1, 2, 3, 6, 7, 8, 1000, 10_000)] == [1, 2, 4, 32, *[LONGEST] * 4]


@virtual
async def test_the_api_server_says_how_long_to_wait() -> None:
    async def busy(number: int) -> float:
        if number == 1:
            raise Retry("too many requests", after=20)
        return 100.0

    rig = Rig(busy)
    await asyncio.sleep(50)
    assert rig.at == [0, 20]
    await rig.end()


@virtual
async def test_an_edit_ends_the_pause_after_failures() -> None:
    async def fails(number: int) -> float:
        if number < 7:
            raise RuntimeError("a bug that an edit mends")
        return 1000.0

    rig = Rig(fails)
    await asyncio.sleep(40)
    assert rig.at == [0, 1, 3, 7, 15, 31]
    rig.wake.set()
    await asyncio.sleep(1)
    assert rig.at[-1] == 40
    await rig.end()


@virtual
async def test_events_do_not_make_a_failing_pass_hot() -> None:
    """A pass that fails after a write which causes an event wakes itself."""

    async def fails(_: int) -> float:
        rig.wake.set()
        raise RuntimeError("a bug")

    rig = Rig(fails)
    await asyncio.sleep(60)
    assert len(rig.at) <= 61
    await rig.end()


@virtual
async def test_a_pass_that_asks_for_no_pause_still_gets_one() -> None:
    async def eager(_: int) -> float:
        return 0.0

    rig = Rig(eager)
    await asyncio.sleep(3)
    assert len(rig.at) <= 3 / FLOOR + 1
    await rig.end()


@pytest.mark.parametrize("error", [RuntimeError("x"), Rejected("x"), Retry("x"), TimeoutError(), KeyError("x")])
@virtual
async def test_it_outlives_every_exception(error: Exception) -> None:
    async def fails_once(number: int) -> float:
        if number == 1:
            raise error
        return 1000.0

    rig = Rig(fails_once)
    await asyncio.sleep(10)
    assert len(rig.at) == 2
    await rig.end()


@virtual
async def test_a_pass_that_hangs_is_ended_and_tried_again() -> None:
    async def hangs_once(number: int) -> float:
        if number == 1:
            await asyncio.sleep(10**6)
        return 1000.0

    rig = Rig(hangs_once)
    await asyncio.sleep(LONGEST_PASS + 2)
    assert rig.at == [0, LONGEST_PASS + 1]
    assert rig.heartbeat.late() == 0
    await rig.end()


@virtual
async def test_a_stop_ends_it_during_a_long_pause() -> None:
    rig = Rig(calm)
    await asyncio.sleep(2)
    before = rig.clock()
    await rig.end()
    assert rig.clock() == before
    assert rig.at == [0]


@virtual
async def test_a_cancel_ends_it_in_the_middle_of_a_pass() -> None:
    async def hangs(_: int) -> float:
        await asyncio.sleep(30)
        return 1.0

    rig = Rig(hangs)
    await asyncio.sleep(1)
    rig.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rig.task


@virtual
async def test_the_pulse_knows_a_loop_that_missed_its_time() -> None:
    clock = asyncio.get_running_loop().time
    heartbeat = Heartbeat(clock=clock)
    assert heartbeat.late() == 0
    heartbeat.beat(KEY, 10)
    heartbeat.beat(Key("team", "other"), 100)
    await asyncio.sleep(8)
    assert heartbeat.late() == 0
    await asyncio.sleep(7)
    assert heartbeat.late() == 5
    heartbeat.forget(KEY)
    assert heartbeat.late() == 0
    heartbeat.forget(KEY)  # twice is no error


@virtual
async def test_the_pulse_counts_a_loop_before_its_first_pass_has_ended() -> None:
    async def hangs(_: int) -> float:
        await asyncio.Event().wait()
        return 1.0

    rig = Rig(hangs)
    await asyncio.sleep(1)
    assert list(rig.heartbeat.due) == [KEY]
    rig.task.cancel()
