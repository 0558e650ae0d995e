"""Rows of the ledger: numbered without a gap, bounded, and safe to open in a spreadsheet."""

import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.access.ledger import FIELDS
from llama_serving.gateway.access.pure.books import MOST_PAIRS, OVERHEAD, Kept, Period, as_csv, line_of, read_line
from llama_serving.gateway.access.pure.usage import Usage


def test_what_ended_is_added_up_per_key_and_model() -> None:
    period = Period()
    period.add("a", "llama", Usage(10, 4, 2))
    period.add("a", "llama", Usage(1, 0, 1, estimated=True))
    period.add("a", "style", Usage(5, 0, 5))
    rows = period.close(last=7, time=100.0, gateway="g-0")
    assert [(row.seq, row.key, row.model, row.requests) for row in rows] == [(8, "a", "llama", 2), (9, "a", "style", 1)]
    assert (rows[0].prompt_tokens, rows[0].cached_tokens, rows[0].answer_tokens, rows[0].estimated) == (11, 4, 3, 1)
    assert period.close(last=9, time=101.0, gateway="g-0") == []


def test_a_period_is_bounded_and_loses_nothing() -> None:
    period = Period()
    for number in range(MOST_PAIRS + 50):
        period.add("a", f"model {number}", Usage(1, 0, 1))
    rows = period.close(last=0, time=0.0, gateway="g")
    assert len(rows) == MOST_PAIRS + 1
    assert sum(row.requests for row in rows) == MOST_PAIRS + 50


@given(st.lists(st.integers(1, 400), min_size=1, max_size=80), st.integers(0, 90), st.integers(1, 50))
def test_a_cursor_sees_every_row_that_is_kept_once(sizes: list[int], after: int, most: int) -> None:
    kept = Kept(4000)
    for seq, size in enumerate(sizes, 1):
        kept.add(seq, b"%d:" % seq + b"x" * size)
    assert kept.last == len(sizes)
    everything = kept.after(0, most=1000)
    assert sum(len(line) + OVERHEAD for line in everything) <= 4000
    assert [int(line.partition(b":")[0]) for line in everything] == list(range(kept.first, kept.last + 1))
    wanted = [line for line in everything if int(line.partition(b":")[0]) > after]
    assert kept.after(after, most=most) == wanted[:most]


def test_rows_come_as_lines_of_json_and_as_csv() -> None:
    period = Period()
    period.add('=HYPERLINK("x")', "a,b", Usage(1, 0, 1))
    line = line_of(period.close(last=0, time=1.5, gateway="g")[0])
    assert json.loads(line)["key"] == '=HYPERLINK("x")'
    found = list(csv.DictReader(io.StringIO(as_csv([line]).decode())))
    assert tuple(found[0]) == FIELDS
    assert (found[0]["key"], found[0]["model"]) == ('\'=HYPERLINK("x")', "a,b")


def test_a_torn_row_is_none() -> None:
    period = Period()
    period.add("a", "", Usage(1, 0, 1))
    line = line_of(period.close(last=0, time=1.5, gateway="g")[0])
    assert read_line(line) is not None
    assert read_line(line[:-1]) is None
    assert read_line(b"{}\n") is None
    assert read_line(line[5:]) is None
