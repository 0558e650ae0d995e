"""What was decoded is remembered up to a number of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from llama_operator.bounds.byte_cache import ByteCache


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=60))
def test_it_never_keeps_more_and_never_says_something_else(asked: list[tuple[int, int]]) -> None:
    held = ByteCache[int](100)
    weights: dict[int, int] = {}
    for key, weight in asked:
        weights.setdefault(key, weight)
        assert held.get(key, lambda key=key: (key * 2, weights[key])) == key * 2  # type: ignore[misc]
        assert 0 <= held.weight <= held.limit


def test_a_value_is_made_once_and_the_oldest_goes_first() -> None:
    held = ByteCache[str](10)
    for key in ("a", "b", "a", "c", "a"):
        held.get(key, lambda: ("x", 5))
    assert held.decoded == 3
    held.get("b", lambda: ("x", 5))
    assert held.decoded == 4, "b went when c came: a was asked for since"


def test_what_is_larger_than_all_is_not_kept() -> None:
    held = ByteCache[str](10)
    assert held.get("k", lambda: ("x", 11)) == "x"
    assert (len(held), held.weight) == (0, 0)
