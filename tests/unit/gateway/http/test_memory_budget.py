"""How much may be held."""

from pathlib import Path

import pytest

from llama_serving.gateway.http.memory_budget import body_budget, memory_limit


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
