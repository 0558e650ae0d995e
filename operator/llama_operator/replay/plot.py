"""Load, groups and wait of several runs over time, as a picture. The only place that imports matplotlib."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from llama_operator.replay.ours import Followed
from llama_operator.replay.simulate import Point
from llama_operator.replay.traces import Trace


class NoPlotError(Exception):
    """The picture cannot be drawn; the text says what is missing."""


def require() -> None:
    """Refuse before anything is replayed if the picture could not be drawn after it."""
    if find_spec("matplotlib") is None:
        raise NoPlotError("--plot needs matplotlib, which is not installed: pip install 'llama-operator[plot]'")


def plot(
    path: Path, trace: Trace, runs: Mapping[str, Sequence[Point]], *, followed: Sequence[Followed]
) -> None:  # fmt: skip
    """Draw the runs, and beside them what was recorded if the trace is a recording.

    A line stands where our policy began to follow another rule.
    """
    import matplotlib

    matplotlib.use("Agg")  # no screen
    from matplotlib import pyplot

    figure, (load, groups, wait) = pyplot.subplots(3, 1, sharex=True, figsize=(12, 9))
    minutes = [0] * (int(trace.seconds / 60) + 1)
    for request in trace.requests:
        minutes[int(request.arrival / 60)] += 1
    load.step([60 * one for one in range(len(minutes))], [one / 60 for one in minutes], where="post")
    load.set_ylabel("requests/s")
    for name, points in runs.items():
        times = [one.time for one in points]
        groups.step(times, [one.serving + one.starting + one.leaving for one in points], where="post", label=name)
        wait.plot(times, [one.oldest_wait for one in points], label=name)
    if trace.recorded:
        times = [one.time for one in trace.recorded]
        groups.step(times, [one.serving + one.starting for one in trace.recorded], where="post", label="recorded")
        wait.plot(times, [one.oldest_wait for one in trace.recorded], label="recorded")
    for change in followed:
        groups.axvline(change.time, linestyle=":", color="grey")
    groups.set_ylabel("groups that cost")
    groups.legend(loc="upper left")
    wait.set_ylabel("oldest wait, s")
    wait.set_xlabel("s")
    figure.suptitle(trace.name)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise NoPlotError(f"--plot {path}: {error}") from error
    finally:
        pyplot.close(figure)
