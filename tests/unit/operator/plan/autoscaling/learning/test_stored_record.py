"""The record as a text: it comes back as it was to a thousandth, and nothing else is taken for one."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.plan.autoscaling.learning.learner import FAMILY
from llama_operator.plan.autoscaling.learning.record import Record
from llama_operator.plan.autoscaling.learning.stored_record import LONGEST, key_of, restore, to_text

ALLOWED = 0.01
FORMULAS = np.array([True, True, False])
KEY = key_of("these rules")


def fresh() -> Record:
    return Record(FORMULAS, batch=30.0, memory=3600.0)


def observed(late: list[tuple[float, float, float]]) -> Record:
    found = fresh()
    for one in late:
        counts = np.array(one)
        found.add([counts, counts * 2, counts * 3], 20.0, np.array([3.0, 2.5, 7.0]))
    return found


def figures(record: Record) -> list[float]:
    shares = [record.risk(allowed=ALLOWED), record.proven(), record.late_share(), record.cost, record.present_cost]
    return [record.requests, record.seconds, record.unavoidable, *np.concatenate(shares)]


seconds = st.tuples(*[st.integers(0, 6).map(float)] * 3)


@given(st.lists(seconds, max_size=300))
def test_a_record_comes_back(late: list[tuple[float, float, float]]) -> None:
    record, other = observed(late), fresh()
    assert restore(other, to_text(record, KEY), KEY)
    assert figures(other) == pytest.approx(figures(record), rel=3e-3, abs=3e-4)


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def packed(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw)).decode()


GOOD = to_text(observed([(1.0, 0.0, 2.0)] * 60), KEY)
NAN = np.array([np.nan], "<f2").tobytes()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("not base 64", id="another text"),
        pytest.param(base64.b64encode(b"no zlib").decode(), id="not compressed"),
        pytest.param(GOOD[: len(GOOD) // 2], id="cut"),
        pytest.param(packed(unpacked(GOOD)[:-2]), id="a number less"),
        pytest.param(packed(unpacked(GOOD) + b"  "), id="a number more"),
        pytest.param(packed(unpacked(GOOD)[:-2] + NAN), id="not a number"),
        pytest.param(packed(unpacked(GOOD)[:-1] + b"\xc2"), id="a negative one"),
        pytest.param(packed(b"\0" * 100_000_000), id="100 MB unpacked"),
        pytest.param(to_text(observed([]), key_of("other rules")), id="of other rules"),
    ],
)
def test_what_is_no_record_of_these_rules_changes_nothing(text: str) -> None:
    record = fresh()
    assert not restore(record, text, KEY)
    assert figures(record) == figures(fresh())


@given(st.text(max_size=60) | st.binary(max_size=200).map(packed))
def test_no_text_is_an_error(text: str) -> None:
    assert not restore(fresh(), text, KEY)


def test_a_record_of_all_rules_fits_into_the_status() -> None:
    draw = np.random.default_rng(1)
    record = Record(np.ones(len(FAMILY), dtype=bool), batch=30.0, memory=3600.0)
    for _ in range(200):
        record.add([draw.random(len(FAMILY)) for _ in range(3)], 9.0, 64 * draw.random(len(FAMILY)))
    assert len(to_text(record, KEY)) < LONGEST
