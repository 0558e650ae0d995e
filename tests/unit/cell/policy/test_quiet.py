"""A process that works, however starved, is never quiet; one that does nothing is, for as long as it was watched."""

from hypothesis import given
from hypothesis import strategies as st

from llama_serving.cell.policy.quiet import LONGEST_LOOK, WORKING, Effort, Quiet

MAIN = (9, 9)
SPANS = st.lists(st.floats(0.05, 30.0), min_size=1, max_size=40)


def watched(spans: list[float], share: float, *, progress: bool = False) -> Quiet:
    """A process whose busiest thread has ``share`` of the time, after these looks."""
    now, spent = 100.0, 5.0
    quiet = Quiet(now, 0, Effort({MAIN: spent}))
    for number, span in enumerate(spans, start=1):
        now, spent = now + span, spent + share * span
        quiet = quiet.look(number if progress else 0, Effort({MAIN: spent, (9, 10): 0.0}), now=now)
    return quiet


@given(SPANS, st.floats(WORKING + 0.01, 1.0))
def test_a_process_that_computes_or_waits_for_a_core_is_never_quiet(spans: list[float], share: float) -> None:
    assert watched(spans, share).seconds == 0


@given(SPANS, st.floats(0.0, WORKING - 0.01))
def test_a_process_that_does_nothing_is_quiet_for_as_long_as_it_was_watched(spans: list[float], share: float) -> None:
    quiet = watched(spans, share).seconds
    assert abs(quiet - sum(min(span, LONGEST_LOOK) for span in spans)) < 1e-6
    assert quiet <= sum(spans) + 1e-6, "a watcher that did not run has seen nothing"


@given(SPANS)
def test_a_call_is_a_sign_of_work(spans: list[float]) -> None:
    assert watched(spans, 0.0, progress=True).seconds == 0


def test_what_the_kernel_does_not_count_yet_is_seen_in_the_states() -> None:
    """A thread that waits for a core is counted when it has got one."""
    before, after = Effort({MAIN: 1.0}, runnable=frozenset({MAIN})), Effort({MAIN: 1.0}, runnable=frozenset({MAIN}))
    assert Quiet(0.0, 0, before, 2.0).look(0, after, now=1.0).seconds == 0
    other = Effort({MAIN: 1.0, (9, 10): 0.0}, runnable=frozenset({(9, 10)}))
    assert Quiet(0.0, 0, before, 2.0).look(0, other, now=1.0).seconds == 3.0, "another thread's moment"
    assert Quiet(0.0, 0, before, 2.0).look(0, Effort({MAIN: 1.0}, on_disk=True), now=1.0).seconds == 0


def test_what_the_system_does_not_tell_is_never_held_against_a_process() -> None:
    quiet = Quiet(0.0, 0, Effort({MAIN: 1.0}), 2.0).look(0, None, now=1.0)
    assert quiet.seconds == 0
    assert quiet.look(0, Effort({MAIN: 1.0}), now=2.0).seconds == 0, "nothing to compare with"


def test_a_new_child_counts_from_its_beginning() -> None:
    quiet = Quiet(0.0, 0, Effort({MAIN: 1.0}))
    assert quiet.look(0, Effort({MAIN: 1.0, (20, 20): 0.9}), now=1.0).seconds == 0
