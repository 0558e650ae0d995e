"""The table of the benchmark: what counts as won, and that rows of an earlier run are taken over for all but ours."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.autoscaling.policies import Cell, markdown, outcome, rows, verdict


def row(policy: str, seconds: float, share: float, *, form: str = "tuned") -> dict[str, Any]:
    figures = {"p50": 0.0, "p99": 1.0, "turns": 2, "settings": f"{policy}:a=1:b=2"}
    cell = {"load": "L", "delay": 5.0}
    return {**cell, **figures, "policy": policy, "form": form, "gpu_seconds": seconds, "share": share}


@pytest.mark.parametrize(
    ("ours", "other", "said"),
    [
        ((90, 0.995), (100, 0.999), "won"),  # both have enough
        ((90, 0.95), (100, 0.95), "won"),
        ((110, 0.995), (100, 0.992), "lost"),
        ((100, 0.995), (100, 0.995), "lost"),
        ((90, 0.95), (100, 0.96), "cheaper, more late"),
        ((90, 0.98), (100, 0.999), "cheaper, more late"),
        ((110, 0.98), (100, 0.97), "dearer, fewer late"),
        ((110, 0.97), (100, 0.98), "lost"),
    ],
)
def test_won_is_as_good_a_share_or_the_asked_one_for_less(
    ours: tuple[float, float], other: tuple[float, float], said: str
) -> None:
    assert verdict(row("ours", *ours), row("ray", *other)) == said


def test_each_cell_begins_with_ours_and_the_bound() -> None:
    bound = {
        "load": "L",
        "delay": 5.0,
        "policy": "bound",
        "form": "",
        "settings": "",
        "gpu_seconds": 50.0,
        "share": 0.99,
    }
    lines = list(markdown([bound, row("ray", 100, 0.99), row("ours", 90, 0.99, form="default")]))[2:]
    assert [line.split(" | ")[2].strip() for line in lines] == ["ours, default", "**bound**", "ray, tuned"]
    assert lines[2] == "| L | 5 s | ray, tuned | a=1, b=2 | 100 | 2.00 | 99.00 % | 0.0 s | 1.0 s | 2 | won |"


def test_a_cell_of_ours_alone_has_one_row_that_survives_json(tmp_path: Path) -> None:
    file = tmp_path / "azure.csv"
    lines = [f"2023-11-16 18:{minute:02}:{second:02}.0000000,100,50" for minute in range(4) for second in range(60)]
    file.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]))
    (one,) = rows(Cell("Azure", 5.0, str(file), only_ours=True))
    assert (one["policy"], one["form"], one["share"]) == ("ours", "default", 1.0)
    assert json.loads(json.dumps(one)) == one


@pytest.mark.parametrize(
    ("ours", "others", "done"),
    [
        ((100, 0.995), [("hpa", 110, 0.999), ("ray", 90, 0.98)], True),  # the cheapest that keeps it is dearer
        ((114, 0.995), [("hpa", 110, 0.999)], False),  # 4 % more
        ((113, 0.995), [("hpa", 110, 0.999)], True),
        ((50, 0.985), [("hpa", 110, 0.999)], False),
        ((100, 0.97), [("hpa", 110, 0.96), ("static", 90, 0.98)], True),  # none keeps it: the best that is elastic
        ((100, 0.955), [("hpa", 110, 0.96)], False),
        ((55, 0.955), [("hpa", 110, 0.96)], True),  # within a point, for half the cost
        ((55, 0.945), [("hpa", 110, 0.96)], False),
        ((100, 0.995), [("formula", 50, 0.999), ("hpa", 110, 0.999)], True),  # the formula is no rival
    ],
)
def test_a_cell_is_done_where_ours_keeps_what_any_other_keeps_for_no_more(
    ours: tuple[float, float], others: list[tuple[str, float, float]], *, done: bool
) -> None:
    cell = [row("ours", *ours, form="default"), row("bound", 50, 0.99), *(row(*one) for one in others)]
    assert outcome(cell)[0] is done
