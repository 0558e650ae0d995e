"""Room on the volume: the reserve stays, old weights go when they must, and a refusal has the numbers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.weights.staging.decide.eviction import KEPT, EvictionCandidate, VolumeSpace, plan_eviction

GB = 10**9


def old(*sizes: int) -> list[EvictionCandidate]:
    """Weights of so many GB, the oldest first."""
    return [EvictionCandidate(f"w{number}", size * GB, float(number)) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("needed", "free", "leftovers", "wanted", "removed"),
    [
        (10, 20, old(), 1, ()),
        (19, 20, old(), 1, ()),  # 1 GB stays
        (10, 5, old(6), 1, ("w0",)),
        (10, 5, old(6, 6), 1, ("w0",)),  # the oldest, and no more than is needed
        (12, 5, old(6, 6), 1, ("w0", "w1")),
        (1, 50, old(6), 2, ()),  # current, next and previous stay
        (1, 50, old(6, 6), 2, ("w0",)),
        (0, 50, old(6, 6, 6, 6), 1, ("w0", "w1")),
        (0, 50, old(6, 6), 5, ("w0", "w1")),
    ],
)
def test_what_goes(
    needed: int, *, free: int, leftovers: list[EvictionCandidate], wanted: int, removed: tuple[str, ...]
) -> None:
    verdict = plan_eviction(
        needed=needed * GB, space=VolumeSpace(free * GB, 100 * GB), candidates=leftovers, wanted=wanted
    )
    assert (verdict.remove, verdict.refusal) == (removed, "")


def test_a_refusal_has_the_numbers_and_removes_nothing() -> None:
    verdict = plan_eviction(needed=32 * GB // 10, space=VolumeSpace(11 * GB // 10, 4 * GB), candidates=[], wanted=1)
    assert verdict.remove == ()
    assert verdict.refusal == (
        "needs 3.2 GB, 1.1 GB of 4.0 GB free on /weights, of which 200 MB stay free: "
        "give the volume of the weights 2.3 GB more"
    )


def test_a_refusal_says_what_could_be_removed() -> None:
    verdict = plan_eviction(needed=30 * GB, space=VolumeSpace(10 * GB, 100 * GB), candidates=old(5, 2), wanted=1)
    assert verdict.remove == ()
    assert "7.0 GB more by removing old weights" in verdict.refusal
    assert "14.0 GB more" in verdict.refusal


@settings(deadline=None)  # a busy machine is no error
@given(
    needed=st.integers(0, 100),
    free=st.integers(0, 100),
    sizes=st.lists(st.integers(0, 30), max_size=6),
    wanted=st.integers(0, 4),
)
def test_there_is_room_or_a_refusal(needed: int, *, free: int, sizes: list[int], wanted: int) -> None:
    space, leftovers = VolumeSpace(free * GB, 100 * GB), old(*sizes)
    verdict = plan_eviction(needed=needed * GB, space=space, candidates=leftovers, wanted=wanted)
    freed = sum(folder.bytes for folder in leftovers if folder.name in verdict.remove)
    if verdict.refusal:
        assert not verdict.remove
        assert needed * GB > space.usable + sum(folder.bytes for folder in leftovers)
    else:
        assert needed * GB <= space.usable + freed or (needed == 0 and not leftovers)
        assert len(leftovers) - len(verdict.remove) + wanted <= max(KEPT, wanted)
