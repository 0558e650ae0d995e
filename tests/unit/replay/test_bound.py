"""The lower bound: no run is ever below it, and it is not far below what one needs."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.replay.bound import bound
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Static
from llama_operator.replay.registry import maker
from llama_operator.replay.simulate import first_groups, simulate
from llama_operator.replay.traces import Request, Trace, load
from tests.unit.replay.test_simulate import Script

PLAIN = Parameters(slots=2, prefill=1e9, perToken=0.1, startDelay=20.0, minReplicas=0)

traces = st.one_of(
    st.builds(
        "gamma:{},{},{},{}".format, st.sampled_from([0.5, 2]), st.sampled_from([1, 4]), st.just(200), st.integers(0, 99)
    ).map(load),
    st.lists(st.tuples(st.floats(0, 150), st.integers(1, 900)), min_size=1, max_size=40).map(
        lambda rows: Trace("random", tuple(Request(at, 0, answer) for at, answer in sorted(rows)), 160.0)
    ),
)


@given(
    trace=traces,
    wanted=st.lists(st.integers(0, 8), max_size=10),
    initial=st.integers(0, 8),
    delay=st.sampled_from([0.0, 5.0, 60.0]),
)
@settings(max_examples=100, deadline=None)
def test_no_run_is_below_the_bound_of_its_own_share(
    *, trace: Trace, wanted: list[int], initial: int, delay: float
) -> None:
    parameters = PLAIN.model_copy(update={"startDelay": delay})
    policy = Script({15 * index: number for index, number in enumerate(wanted, 1)})
    run = simulate(trace, parameters, policy, initial=initial)
    share = sum(one <= parameters.wait for one in run.waits) / len(run.waits)
    assert run.group_seconds >= bound(trace, parameters, share=share) - 1e-6


@pytest.mark.parametrize("name", ["ours", "knative", "hpa", "keda", "ray"])
@pytest.mark.parametrize("cv", [1, 6])
def test_no_policy_is_below_the_bound_of_its_own_share(name: str, cv: int) -> None:
    trace = load(f"gamma:1,{cv},600,4")
    parameters = Parameters(slots=2, startDelay=30.0)
    initial = first_groups(trace, parameters)
    run = simulate(trace, parameters, maker(name, {})(parameters, initial), initial=initial)
    share = sum(one <= parameters.wait for one in run.waits) / len(run.waits)
    assert run.group_seconds >= bound(trace, parameters, share=share)


def test_steady_work_is_bounded_by_nearly_all_of_it() -> None:
    # Two slots' work, evenly: one group, always.
    trace = Trace("even", tuple(Request(float(at), 0, 20) for at in range(1000)), 1000.0)
    assert simulate(trace, PLAIN, Static(1), initial=1).group_seconds == 1000.0
    assert 950 <= bound(trace, PLAIN) <= 1000


def test_a_burst_pays_its_start_where_starts_are_dear() -> None:
    # A request at a time needs one slot of two; in the middle, for 60 s, ten need five groups.
    calm = [Request(float(at), 0, 10) for at in range(1200)]
    burst = [Request(600.0 + at, 0, 10) for at in range(60) for _ in range(9)]
    trace = Trace("burst", tuple(sorted(calm + burst)), 1200.0)
    cheap, dear = (bound(trace, PLAIN.model_copy(update={"startDelay": delay})) for delay in (0.0, 100.0))
    assert cheap < dear <= cheap + 100.0 * 4.5


def test_a_higher_share_needs_more() -> None:
    trace = load("gamma:2,4,600,1")
    needs = [bound(trace, PLAIN, share=share) for share in (0.5, 0.9, 0.99, 1.0)]
    assert needs == sorted(needs)
    assert needs[0] < needs[-1]


def test_where_all_may_be_late_nothing_is_needed() -> None:
    trace = load("gamma:2,1,60,1")
    assert math.isclose(bound(trace, PLAIN, share=0.0), 0.0, abs_tol=1e-9)
