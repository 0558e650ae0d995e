"""A computation that is ended by the seconds that it takes of a core."""

import re
import signal
import sys

import pytest

from llama_serving.common.cpu_limit import CpuLimitError, cpu_limit


def test_a_search_without_end_ends() -> None:
    with pytest.raises(CpuLimitError), cpu_limit(0.05):
        re.search("(a+)+$", "a" * 60 + "b")


@pytest.mark.parametrize("seconds", [0.05, 60.0])
def test_afterwards_everything_is_as_before(seconds: float) -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    try:
        with cpu_limit(seconds):
            while seconds < 1:
                pass
    except CpuLimitError:
        assert seconds < 1
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_an_error_of_the_computation_stays_its_own() -> None:
    with pytest.raises(KeyError), cpu_limit(60):
        raise KeyError
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


class Endless:
    """Its destructor computes until it is ended."""

    def __del__(self) -> None:
        compute()


def compute() -> None:
    while True:
        pass


def drop_one_and_compute() -> None:
    Endless()
    compute()


def test_an_error_that_python_drops_in_a_destructor_comes_again() -> None:
    with pytest.raises(CpuLimitError), cpu_limit(0.05):
        drop_one_and_compute()


def test_what_others_drop_is_told_as_before() -> None:
    told = sys.unraisablehook
    with cpu_limit(60):
        assert sys.unraisablehook is not told
    assert sys.unraisablehook is told
    with pytest.raises(KeyError), cpu_limit(60):
        raise KeyError
    assert sys.unraisablehook is told
