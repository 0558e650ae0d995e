"""Attackers beside users: whatever poison is sent, however often and to how many groups, all users are answered."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.gateway.routing.ejection import STRIKES
from llama_serving.gateway.routing.retry_policy import MAX_KILLS, AttemptFault, FaultKind
from tests.unit.gateway.routing.crowd import Crowd, Seen, Simulation
from tests.unit.gateway.routing.worlds import BUSY, INTERNAL, RESET

GARBAGE = AttemptFault(FaultKind.PROTOCOL_ERROR, "no HTTP")
HANG = AttemptFault(FaultKind.READ_TIMEOUT, "silent")
SEEN_BY_ENGINE = [INTERNAL, RESET, GARBAGE]
#: As many as may be between the first and the last strike: those that were sent before anybody could know.
AT_ONCE = 4


def check_users(seen: Seen, crowd: Crowd) -> None:
    assert seen.failed == []
    assert seen.answered["user"] > crowd.users * crowd.seconds / 2


@pytest.mark.parametrize("groups", [1, 2, 3, 8])
@pytest.mark.parametrize("attacks", [1, 5, 100])
@pytest.mark.parametrize("poison", SEEN_BY_ENGINE, ids=lambda fault: fault.kind)
def test_poison_takes_no_group_from_the_users(poison: AttemptFault, attacks: float, groups: int) -> None:
    crowd = Crowd(groups=groups, poison=poison, attacks=attacks)
    seen = Simulation(crowd, seed=1).run()
    check_users(seen, crowd)
    assert seen.ejections == Counter()
    assert max(map(len, seen.visits.values())) <= MAX_KILLS
    assert max(len(set(visits)) for visits in seen.visits.values()) <= 2


@pytest.mark.parametrize("sick", [INTERNAL, RESET, GARBAGE, BUSY, None], ids=lambda fault: fault and fault.detail)
@pytest.mark.parametrize("poison", SEEN_BY_ENGINE, ids=lambda fault: fault.kind)
@pytest.mark.parametrize("groups", [2, 3, 8])
def test_beside_an_attacker_a_group_that_is_really_sick_or_dead_is_found(
    groups: int, poison: AttemptFault, sick: AttemptFault | None
) -> None:
    crowd = Crowd(groups=groups, poison=poison, attacks=20, faults={"g0": sick})
    seen = Simulation(crowd, seed=2).run()
    check_users(seen, crowd)
    assert set(seen.ejections) == {"g0"}
    # Found, and asked again by one request after each pause: of 1, 2 and 4 s within the 10 s of the run.
    assert seen.failures["g0"] <= STRIKES + AT_ONCE + 3 * (1 + AT_ONCE)


@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(1, 6),
    poison=st.sampled_from([*SEEN_BY_ENGINE, BUSY]),
    attacks=st.sampled_from([1, 10, 100]),
    users=st.floats(1, 20),
    answer=st.floats(0.001, 3),
    lucky=st.just(0.0) | st.floats(0, 1),
    sick=st.sampled_from(["", INTERNAL, RESET, GARBAGE, BUSY, None]),
    seed=st.integers(0, 1000),
)
def test_all_users_are_answered_whatever_the_poison(  # noqa: PLR0917  # hypothesis names them
    groups: int,
    poison: AttemptFault,
    attacks: int,
    users: float,
    answer: float,
    lucky: float,
    sick: AttemptFault | str | None,
    seed: int,
) -> None:
    """Also poison that some attempts survive, so that a group that is well seems to fail what another answers."""
    faults: dict[str, AttemptFault | None] = {"g0": sick} if groups > 1 and not isinstance(sick, str) else {}
    crowd = Crowd(groups, poison, attacks=attacks, users=users, answer=answer, lucky=lucky, faults=faults, seconds=3)
    seen = Simulation(crowd, seed).run()
    assert seen.failed == []
    if poison.is_seen:
        assert all(len(set(visits)) <= 2 + len(faults) for visits in seen.visits.values())


def test_hangs_of_an_attacker_take_no_group_out_while_it_answers_users() -> None:
    crowd = Crowd(groups=3, poison=HANG, attacks=5, hang=8, seconds=30)
    seen = Simulation(crowd, seed=3).run()
    check_users(seen, crowd)
    assert seen.ejections == Counter()
    assert max(map(len, seen.visits.values())) == 1


def test_a_group_that_hangs_is_found_by_three_requests() -> None:
    crowd = Crowd(groups=3, poison=HANG, attacks=0, hang=8, seconds=60, faults={"g0": HANG})
    seen = Simulation(crowd, seed=4).run()
    assert set(seen.ejections) == {"g0"}
    assert seen.answered["user"] > 500


@pytest.mark.parametrize("poison", SEEN_BY_ENGINE, ids=lambda fault: fault.kind)
def test_poison_alone_leaves_room_in_the_queue(poison: AttemptFault) -> None:
    crowd = Crowd(groups=1, poison=poison, attacks=100, users=0, seconds=20)
    seen = Simulation(crowd, seed=5).run()
    assert seen.longest_queue <= crowd.slots
    again = Simulation(replace(crowd, users=1), seed=5).run()
    assert again.failed == []
