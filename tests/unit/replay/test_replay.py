"""The command: what it prints, what it refuses, and that the real policy runs in it."""

import importlib.util
import json
from pathlib import Path

import pytest

from llama_operator.plan.autoscaling import recording
from llama_operator.plan.autoscaling.inputs import GroupCounts
from llama_operator.plan.autoscaling.load import Load
from llama_operator.replay.__main__ import main
from llama_operator.replay.bound import bound
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Static
from llama_operator.replay.registry import BadPolicyError, parse, written
from llama_operator.replay.report import quantile, summary, table, turns
from llama_operator.replay.simulate import Run, simulate
from llama_operator.replay.traces import load
from llama_operator.replay.tuning import SHARE, attempt, grid, rank, tune

TRACE = "gamma:2,1,300,1"
SMALL = Parameters(startDelay=20.0)


def replayed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["replay", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["replay", *arguments]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    return printed.err


def test_every_policy_has_a_row_beside_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    out = replayed(capsys, TRACE, "--start-delay", "20", "--policy", "ours,knative,hpa,keda,ray,static:4")
    lines = out.splitlines()
    assert lines[0].startswith(f"{TRACE}: ")
    names = [line.split()[0] for line in lines[2:]]
    assert names == ["clairvoyant", "ours", "knative", "hpa", "keda", "ray", "static:4"]


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    out = json.loads(replayed(capsys, TRACE, "--policy", "static:4,static:0", "--json"))
    expected = summary("static:4", simulate(load(TRACE), Parameters(), Static(4), initial=4), Parameters())
    four, none = out["policies"]
    assert four["gpu_seconds"] == pytest.approx(4 * 300 * 8) == expected.gpu_seconds
    assert four["share"] == pytest.approx(expected.share)
    assert none["p99"] is None
    assert out["bound_gpu_seconds"] <= four["gpu_seconds"]


def test_a_recording_shows_what_was_decided(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "recording.csv"
    samples = [
        recording.reading_of(
            Load(known=True, arrived=1, arrived_prompt_tokens=100, served=1, served_answer_tokens=50),
            GroupCounts(serving=2),
            target=2 + second % 2,
            time=1e9 + second,
        )
        for second in range(60)
    ]
    file.write_text("\n".join([recording.HEADER, *(recording.csv_line(one) for one in samples)]))
    rows = json.loads(replayed(capsys, str(file), "--policy", "ours", "--json"))["policies"]
    assert [one["policy"] for one in rows] == ["recorded", "ours"]
    assert rows[0]["gpu_seconds"] == 2 * 59 * 8
    assert rows[0]["turns"] == 58
    assert rows[0]["share"] is None
    later = json.loads(replayed(capsys, str(file), "--policy", "ours", "--warmup", "20", "--json"))["policies"][0]
    assert (later["policy"], later["gpu_seconds"], later["turns"]) == ("recorded", 2 * 39 * 8, 38)


def test_tuned_forms_are_printed_with_their_settings(capsys: pytest.CaptureFixture[str]) -> None:
    out = replayed(capsys, TRACE, "--start-delay", "5", "--policy", "hpa", "--tune", "gamma:2,1,300,2")
    rows = [line.split()[0] for line in out.splitlines()[3:]]
    best = tune("hpa", load("gamma:2,1,300,2"), Parameters(startDelay=5.0))
    assert rows == ["hpa", written("hpa", best)]


def test_figures_are_of_what_is_behind_the_warm_up(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [TRACE, "--start-delay", "5", "--policy", "hpa,static:4", "--warmup", "120"]
    found = json.loads(replayed(capsys, *arguments, "--json"))
    late = load(TRACE).part(120, 300)
    assert (found["requests"], found["seconds"], found["warmup_seconds"]) == (len(late.requests), 180.0, 120.0)
    assert found["policies"][1]["gpu_seconds"] == 4 * 180 * 8
    assert found["bound_gpu_seconds"] == pytest.approx(bound(late, Parameters(startDelay=5.0)) * 8)
    assert "requests in 180 s, behind a warm-up of 120 s" in replayed(capsys, *arguments).splitlines()[0]


def test_rules_are_tuned_on_the_warm_up(capsys: pytest.CaptureFixture[str]) -> None:
    out = replayed(capsys, TRACE, "--start-delay", "5", "--policy", "hpa", "--warmup", "100", "--tune")
    best = tune("hpa", load(TRACE).part(0, 100), Parameters(startDelay=5.0))
    assert [line.split()[0] for line in out.splitlines()[3:]] == ["hpa", written("hpa", best)]


def test_nothing_behind_the_warm_up_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "early.csv"
    file.write_text("arrival,prompt,answer\n1,10,10\n20,10,10\n")
    assert "no request arrives from second 20.5 to 21" in refused(capsys, str(file), "--warmup", "20.5")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.csv"], "nowhere.csv: cannot be read"),
        ([TRACE, "--policy", "magic"], "policy 'magic' is not known; there are ours, formula, knative"),
        ([TRACE, "--policy", "static"], "static needs its number of groups, as in static:8"),
        ([TRACE, "--policy", "hpa:targets=3"], "policy hpa has no setting 'targets'; there are target, tolerance"),
        ([TRACE, "--policy", "hpa:target=x"], "target must be a number, it is 'x'"),
        ([TRACE, "--policy", "hpa:target=-1"], "target must be 0 or more"),
        ([TRACE, "--start-delay", "-1"], "--start-delay -1.0: it must be 0 seconds or more"),
        ([TRACE, "--warmup", "-1"], "--warmup -1: it must be 0 or more and less than 300 s"),
        ([TRACE, "--warmup", "300"], "--warmup 300: it must be 0 or more and less than 300 s"),
        ([TRACE, "--tune"], "--tune needs a trace, or --warmup SECONDS with more than 0"),
        ([TRACE, "--warmup", "0.01", "--tune"], "--warmup 0.01: no request arrives in it, so --tune has nothing"),
        ([TRACE, "--initial", "65"], "--initial 65: it must be 0 to 64"),
        ([TRACE, "--parameters", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in refused(capsys, *arguments)


def test_a_plot_is_drawn_or_what_it_needs_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    arguments = [TRACE, "--policy", "static:4", "--plot", str(picture)]
    if importlib.util.find_spec("matplotlib"):
        replayed(capsys, *arguments)
        assert picture.read_bytes().startswith(b"\x89PNG")
    else:
        assert "pip install 'llama-operator[plot]'" in refused(capsys, *arguments)


def test_our_own_policies_are_not_tuned(capsys: pytest.CaptureFixture[str]) -> None:
    out = replayed(capsys, "gamma:2,1,300,1", "--policy", "ours,formula", "--warmup", "100", "--tune", "--json")
    assert [one["policy"] for one in json.loads(out)["policies"]] == ["ours", "formula"]


@pytest.mark.parametrize(
    "text", ["ours", "static:8", "knative:utilisation=0.5:stable=300", "ours:share=0.999", "formula:stable=60"]
)
def test_a_policy_is_written_as_it_was_read(text: str) -> None:
    assert written(*parse(text)) == text


def test_unknown_settings_of_ours_are_refused() -> None:
    with pytest.raises(BadPolicyError, match="no setting 'slots'"):
        parse("ours:slots=3")


def test_turns_are_changes_of_direction() -> None:
    assert turns([1, 2, 2, 3, 3]) == 0
    assert turns([1, 2, 1, 1, 2, 3, 1]) == 3


def test_a_quantile_is_a_value_that_was_seen() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], part) for part in (0.5, 0.99, 0.0)] == [2.0, 4.0, 1.0]


def test_the_table_says_never_where_a_wait_has_no_end() -> None:
    row = summary("none", Run((float("inf"),), 0.0, (0,)), SMALL)
    assert "never" in table([row], 1.0)


def test_the_tuned_form_is_the_best_of_its_grid() -> None:
    trace = load("gamma:2,4,300,3")
    best = rank(attempt("ray", tune("ray", trace, SMALL), trace=trace, parameters=SMALL))
    assert best == min(rank(attempt("ray", one, trace=trace, parameters=SMALL)) for one in grid("ray", SMALL.slots))


def test_the_tuned_fixed_number_is_the_fewest_that_do() -> None:
    trace = load("gamma:2,4,300,3")
    number = tune("static", trace, SMALL)["groups"]
    assert attempt("static", {"groups": number}, trace=trace, parameters=SMALL).share >= SHARE
    assert attempt("static", {"groups": number - 1}, trace=trace, parameters=SMALL).share < SHARE


def test_rank_prefers_those_that_reach_the_share_then_the_cheap() -> None:
    cheap = summary("a", Run((0.0,), 1.0, (1,)), SMALL)
    dear = summary("b", Run((0.0,), 2.0, (1,)), SMALL)
    late = summary("c", Run((9.0,), 0.5, (1,)), SMALL)
    assert sorted([late, dear, cheap], key=rank) == [cheap, dear, late]
