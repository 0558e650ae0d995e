"""Traces: three kinds of files told apart by their first line, made-up ones, and what is said of bad ones."""

import statistics
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.plan.autoscaling import recording
from llama_operator.plan.autoscaling.inputs import GroupCounts
from llama_operator.plan.autoscaling.load import Load
from llama_operator.replay.traces import AZURE, PLAIN, BadTraceError, Request, Trace, load


def written(folder: Path, *lines: str) -> str:
    file = folder / "trace.csv"
    file.write_text("\n".join(lines))
    return str(file)


def test_azure_begins_at_its_first_request(tmp_path: Path) -> None:
    file = written(tmp_path, AZURE, "2023-11-16 23:59:59.5000000,374,44", "2023-11-17 00:00:01.2500000,1,2", "")
    assert load(file).requests == (Request(0.0, 374, 44), Request(1.75, 1, 2))


def test_plain_keeps_its_times_and_is_sorted(tmp_path: Path) -> None:
    trace = load(written(tmp_path, PLAIN, "7.5,10,20", "2,1,0"))
    assert trace.requests == (Request(2.0, 1, 0), Request(7.5, 10, 20))
    assert trace.seconds == 8.5


def test_halves_share_the_requests_and_begin_at_zero() -> None:
    trace = load("gamma:2,1,100,1")
    first, second = trace.half(second=False), trace.half(second=True)
    assert len(first.requests) + len(second.requests) == len(trace.requests)
    assert [one.arrival for one in second.requests] == [one.arrival - 50 for one in trace.requests if one.arrival >= 50]
    assert max(one.arrival for one in first.requests) < 50 == first.seconds == second.seconds


@given(begin=st.floats(0, 100), end=st.floats(0, 100))
def test_a_part_has_what_arrives_in_it(begin: float, end: float) -> None:
    begin, end = sorted((begin, end))
    trace = load("gamma:2,1,100,1")
    part = trace.part(begin, end)
    expected = [one for one in trace.requests if begin <= one.arrival < end]
    assert [(one.prompt, one.answer) for one in part.requests] == [(one.prompt, one.answer) for one in expected]
    assert [one.arrival for one in part.requests] == [one.arrival - begin for one in expected]
    assert part.seconds == end - begin


def test_a_recording_gives_arrivals_their_mean_size_and_keeps_the_decisions(tmp_path: Path) -> None:
    samples = [
        recording.reading_of(Load(known=True), GroupCounts(serving=1), target=1, time=1000.0),
        recording.reading_of(
            Load(known=True, arrived=4, arrived_prompt_tokens=40, served=2, served_answer_tokens=30),
            GroupCounts(serving=1, starting=(3.0, 1.0)),
            target=3,
            time=1002.0,
        ),
    ]
    trace = load(written(tmp_path, recording.HEADER, *(recording.csv_line(one) for one in samples)))
    assert trace.requests == tuple(Request(at, 10, 15) for at in (0.0, 0.5, 1.0, 1.5))
    assert [(one.time, one.serving, one.starting, one.target) for one in trace.recorded] == [(0, 1, 0, 1), (2, 1, 2, 3)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "line 1: it is ''; one of these must stand there: TIMESTAMP"),
        (["time,tokens"], "line 1: it is 'time,tokens'"),
        ([PLAIN], "it has no requests"),
        ([PLAIN, "1,2,3", "1,2"], "line 3: 2 columns instead of 3; expected arrival,prompt,answer, it is '1,2'"),
        ([PLAIN, "1,2,x"], "line 2: invalid literal"),
        ([PLAIN, "-1,2,3"], "line 2: times and tokens must be 0 or more"),
        ([PLAIN, "nan,2,3"], "line 2: times and tokens must be 0 or more"),
        ([AZURE, "yesterday,2,3"], "line 2: Invalid isoformat string"),
        ([recording.HEADER, "1,2"], "line 2: 2 columns where 12 belong"),
        ([recording.HEADER, "1,x,0,0,0,0,0,0,0,0,0,0"], "line 2: arrived is 'x' and must be a number"),
        ([recording.HEADER, "1,-1,0,0,0,0,0,0,0,0,0,0"], "line 2: arrived is -1 and must be 0 or more"),
        (
            [recording.HEADER, "2,0,0,0,0,0,0,0,0,0,0,0", "1,0,0,0,0,0,0,0,0,0,0,0"],
            "line 3: its time is before that of the line above",
        ),
        ([recording.HEADER], "it has no readings"),
    ],
)
def test_a_bad_file_is_named_with_line_and_remedy(tmp_path: Path, lines: list[str], said: str) -> None:
    file = written(tmp_path, *lines)
    with pytest.raises(BadTraceError) as raised:
        load(file)
    assert str(raised.value).startswith(file)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "text", ["gamma:1,2", "gamma:0,1,60,1", "step:1,10,x,1", "gamma:1,1,60,1.5", "gamma:inf,1,1,1"]
)
def test_a_bad_made_up_trace_says_its_form(text: str) -> None:
    with pytest.raises(BadTraceError, match=r"expected (gamma|step):.*SECONDS,SEED"):
        load(text)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(BadTraceError, match=r"nowhere\.csv: cannot be read"):
        load("nowhere.csv")


@pytest.mark.parametrize("cv", [1.0, 4.0])
def test_gamma_has_the_asked_rate_and_variation(cv: float) -> None:
    trace = load(f"gamma:5,{cv},20000,3")
    gaps = [later.arrival - one.arrival for one, later in pairwise(trace.requests)]
    assert statistics.mean(gaps) == pytest.approx(0.2, rel=0.1)
    assert statistics.stdev(gaps) / statistics.mean(gaps) == pytest.approx(cv, rel=0.1)


def test_step_is_high_in_the_middle_half() -> None:
    trace = load("step:1,10,4000,5")
    middle = sum(1000 <= one.arrival < 3000 for one in trace.requests)
    assert middle / 2000 == pytest.approx(10, rel=0.05)
    assert (len(trace.requests) - middle) / 2000 == pytest.approx(1, rel=0.1)


def test_the_same_seed_gives_the_same_trace() -> None:
    assert load("gamma:1,4,500,9") == load("gamma:1,4,500,9") != load("gamma:1,4,500,8")


@given(
    st.builds(
        recording.Reading,
        **{
            one: st.integers(0, 10**9) if kind is int else st.floats(0, 1e9)
            for one, kind in recording.Reading.__annotations__.items()
        },
    )
)
def test_a_sample_reads_as_it_was_written(one: recording.Reading) -> None:
    assert recording.parse_line(recording.csv_line(one)) == one


def test_a_recordings_header_names_its_columns() -> None:
    one = recording.reading_of(Load(known=True), GroupCounts(), target=0, time=1.0)
    assert len(recording.csv_line(one).split(",")) == len(recording.HEADER.split(","))
    assert isinstance(load("gamma:1,1,10,1"), Trace)
