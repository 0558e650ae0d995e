"""A dead stage ends the process of the engine core."""

import threading

import pytest

from llama_serving.engine.stage_death import EXIT_CODE, ending_the_process


def test_a_dead_stage_tells_the_engine_and_ends_its_process() -> None:
    told, ended = threading.Event(), threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    ending_the_process(told.set, grace=0.01, end=end)()
    assert told.is_set()
    assert ended.wait(10)
    assert codes == [EXIT_CODE]


def test_the_process_ends_even_when_the_engine_cannot_be_told() -> None:
    ended = threading.Event()

    def callback() -> None:
        raise OSError("the socket is gone")

    with pytest.raises(OSError, match="the socket is gone"):
        ending_the_process(callback, grace=0.01, end=lambda _: ended.set())()
    assert ended.wait(10)
