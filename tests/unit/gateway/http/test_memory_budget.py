"""How much may be held."""

from pathlib import Path

import pytest

from llama_serving.gateway.http.memory_budget import SMALL, MemoryBudget, body_budget, memory_limit


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 1 << 30), (256 << 20, 96 << 20), (64 << 20, 1 << 20), (1 << 20, 1 << 20)]
)
def test_half_of_what_the_limit_leaves(limit: int | None, expected: int) -> None:
    assert body_budget(limit) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("268435456\n", 1 << 28), ("max\n", None), (f"{(1 << 63) - 4096}\n", None)]
)
def test_the_limit_is_read_from_the_first_file_that_exists(tmp_path: Path, text: str, expected: int | None) -> None:
    file = tmp_path / "limit"
    file.write_text(text)
    assert memory_limit((tmp_path / "missing", file)) == expected


def test_no_file_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit((tmp_path / "missing",)) is None


def test_large_bodies_leave_a_quarter_for_small_ones() -> None:
    budget = MemoryBudget(100 * SMALL)
    budget.bodies = 74 * SMALL
    assert budget.has_room(SMALL)
    assert not budget.has_room(2 * SMALL)
    assert budget.has_room(0, of=SMALL + 1)
    budget.bodies = 76 * SMALL
    assert not budget.has_room(0, of=SMALL + 1)
    assert budget.has_room(SMALL)
    budget.bodies = 100 * SMALL
    assert not budget.has_room(1)


def test_only_small_bodies_are_taken_while_the_process_nears_its_limit() -> None:
    budget = MemoryBudget(100 * SMALL)
    budget.is_tight = True
    assert (budget.has_room(SMALL), budget.has_room(SMALL + 1), budget.reserve_answer(1)) == (True, False, False)


def test_answers_that_are_read_whole_have_a_quarter() -> None:
    budget = MemoryBudget(100)
    assert budget.reserve_answer(25)
    assert not budget.reserve_answer(1)
    budget.release_answer(25)
    budget.bodies = 90
    assert (budget.reserve_answer(11), budget.reserve_answer(10)) == (False, True)
