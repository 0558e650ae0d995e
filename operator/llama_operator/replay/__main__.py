"""``python -m llama_operator.replay replay TRACE``: policies over a trace. See docs/reference/replay.md."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from llama_operator.replay import parameters as parameters_file
from llama_operator.replay import traces
from llama_operator.replay.bound import bound
from llama_operator.replay.ours import Followed, Ours
from llama_operator.replay.parameters import BadParametersError, Parameters
from llama_operator.replay.plot import NoPlotError, plot, require
from llama_operator.replay.registry import OURS, BadPolicyError, maker, parse, written
from llama_operator.replay.report import Summary, as_json, as_text, recorded, summary
from llama_operator.replay.simulate import Point, first_groups, simulate
from llama_operator.replay.traces import BadTraceError, Trace
from llama_operator.replay.tuning import tune

POLICIES = "ours,knative,hpa,keda,ray"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when everything was replayed, 2 with one sentence when something given cannot be used."""
    given = _parser().parse_args(arguments)
    try:
        return _replay(given)
    except (BadTraceError, BadParametersError, BadPolicyError, NoPlotError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m llama_operator.replay")
    commands = parser.add_subparsers(dest="command", required=True)
    replay = commands.add_parser("replay", help="run policies over a trace in virtual time")
    made_up = ", ".join(form for _, form in traces.MADE_UP.values())
    replay.add_argument("trace", help=f"a CSV file, or one that is made up: {made_up}")
    replay.add_argument("--half", choices=["first", "second"], help="only this half of the trace")
    replay.add_argument("--policy", default=POLICIES, metavar="A,B", help="%(default)s, static:N; NAME:FIELD=NUMBER")
    replay.add_argument(
        "--warmup", type=float, default=0.0, metavar="SECONDS", help="replayed first, and counted in no figure"
    )
    replay.add_argument(
        "--tune", nargs="?", const="", metavar="TRACE",
        help="also each of them as it does best on this other trace; without one, on the warm-up",
    )  # fmt: skip
    replay.add_argument("--parameters", type=Path, metavar="FILE", help="YAML or JSON: speeds, or a LlamaDeployment")
    replay.add_argument("--start-delay", type=float, metavar="SECONDS", help="until a new group serves")
    replay.add_argument("--initial", type=int, metavar="N", help="groups that serve at the beginning")
    replay.add_argument("--seed", type=int, default=0, help="of the start delays, if they vary")
    replay.add_argument("--plot", type=Path, metavar="PNG", help="draw load, groups and wait")
    replay.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _replay(given: argparse.Namespace) -> int:
    if given.plot:
        require()
    trace, known = _trace(given), _parameters(given)
    judged = _judged(given, trace)
    initial = _initial(given, trace, known)
    wanted = [parse(one) for one in given.policy.split(",") if one]
    if given.tune is not None:
        other = _other(given, trace)
        wanted += [(name, tune(name, other, known)) for name in dict(wanted) if name not in OURS]
    rows: list[Summary] = [recorded(judged, known)] if judged.recorded else []
    drawn: dict[str, Sequence[Point]] = {}
    followed: list[Followed] = []
    for name, settings in wanted:
        label = written(name, settings)
        begin = int(settings["groups"]) if name == "static" else initial
        policy = maker(name, settings)(known, begin)
        run = simulate(
            trace, known, policy, initial=begin, seed=given.seed, keep=given.plot is not None, warmup=given.warmup
        )
        rows.append(summary(label, run, known))
        drawn[label] = run.points
        followed += policy.followed if isinstance(policy, Ours) else []
    least = bound(judged, known) * known.gpus
    write = as_json if given.json else as_text
    sys.stdout.write(write(judged, rows, least=least, warmup=given.warmup, followed=followed) + "\n")
    if given.plot:
        plot(given.plot, trace, drawn, followed=followed)
    return 0


def _trace(given: argparse.Namespace) -> Trace:
    trace = traces.load(given.trace)
    return trace.half(given.half == "second") if given.half else trace


def _judged(given: argparse.Namespace, trace: Trace) -> Trace:
    """Return what the figures are of: the trace behind the warm-up."""
    if not 0 <= given.warmup < trace.seconds:
        raise BadTraceError(f"--warmup {given.warmup:g}: it must be 0 or more and less than {trace.seconds:.0f} s")
    judged = trace.part(given.warmup, trace.seconds)
    if not judged.requests:
        raise BadTraceError(f"{trace.name}: no request arrives from second {given.warmup:g} to {trace.seconds:.0f}")
    return judged


def _other(given: argparse.Namespace, trace: Trace) -> Trace:
    """Return what rules are tuned on."""
    if given.tune:
        return traces.load(given.tune)
    if not given.warmup:
        raise BadTraceError("--tune needs a trace, or --warmup SECONDS with more than 0: rules are tuned on that part")
    other = trace.part(0.0, given.warmup)
    if not other.requests:
        raise BadTraceError(f"--warmup {given.warmup:g}: no request arrives in it, so --tune has nothing to tune on")
    return other


def _parameters(given: argparse.Namespace) -> Parameters:
    known = parameters_file.read(given.parameters) if given.parameters else Parameters()
    if given.start_delay is None:
        return known
    if not 0 <= given.start_delay < float("inf"):
        raise BadParametersError(f"--start-delay {given.start_delay}: it must be 0 seconds or more")
    return known.model_copy(update={"startDelay": given.start_delay})


def _initial(given: argparse.Namespace, trace: Trace, known: Parameters) -> int:
    if given.initial is None:
        return max(1, trace.recorded[0].serving) if trace.recorded else first_groups(trace, known)
    if not 0 <= given.initial <= known.maxReplicas:
        raise BadParametersError(f"--initial {given.initial}: it must be 0 to {known.maxReplicas}, as maxReplicas is")
    return int(given.initial)


if __name__ == "__main__":
    sys.exit(main())
