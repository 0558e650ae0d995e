"""``python -m llama_operator.preview --explain FILE``: the steps of a rollout, without a cluster.

FILE is YAML (docs/reference/preview.md describes it, examples/rollouts/ has some). The planner is the operator's own;
only the cluster around it is simulated.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import ValidationError

from llama_operator.preview.scenario import Scenario, run, scaling_of
from llama_operator.preview.simulation import Moment


def main(arguments: list[str] | None = None) -> int:
    """Print the rollout; 0 when it was done, 1 when it was held or given up, 2 when the file is no rollout."""
    parser = argparse.ArgumentParser(prog="python -m llama_operator.preview", description=__doc__)
    parser.add_argument("--explain", metavar="FILE", type=Path, required=True, help="a rollout as YAML")
    file: Path = parser.parse_args(arguments).explain
    try:
        scenario = Scenario.model_validate(yaml.safe_load(file.read_text()))
        moments, scaling = list(run(scenario)), scaling_of(scenario)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        sys.stderr.write(f"{file}: {_first(error)}\n")
        return 2
    if scaling:
        sys.stdout.write(f"{scaling}\n\n")
    sys.stdout.writelines(f"{line}\n" for line in lines(moments))
    last = moments[-1].plan.persisted.rollout
    return 0 if last is None or last.phase == "Done" else 1


def lines(moments: list[Moment]) -> Iterator[str]:
    """Yield what will happen, then what happened when; a line for every change of what is waited for."""
    yield from _announced(moments)
    shown: tuple[str, ...] = ()
    for moment in moments:
        details = tuple(dict.fromkeys(explanation.detail for explanation in moment.plan.explanations))
        if details != shown:
            capacity = f"{moment.serving} of {moment.spec.replicas} serve"
            for detail in [one for one in details if one not in shown] or ["all groups serve"] * (not details):
                yield f"{moment.second:>7} s  {capacity:<14}  {detail}"
        shown = details
    yield from _ended(moments[-1])


def _announced(moments: list[Moment]) -> Iterator[str]:
    found = [one for moment in moments if (one := moment.plan.persisted.rollout)]
    rollout = next((one for one in found if one.preview.strategy), found[0] if found else None)
    if rollout is None:
        yield "nothing changes for the groups"
        return
    expected = rollout.preview
    yield f"{rollout.to} in place of {rollout.before}"
    yield f"strategy: {expected.strategy or 'none is possible'}: {expected.why}"
    yield from (f"  {number}. {step}" for number, step in enumerate(expected.steps, 1))
    if expected.strategy:
        seconds = "not measured yet" if expected.seconds is None else f"about {expected.seconds} s"
        yield f"extra devices: {expected.extra_devices}; lowest capacity: {expected.lowest_capacity}; takes: {seconds}"
    yield ""


def _ended(moment: Moment) -> Iterator[str]:
    rollout = moment.plan.persisted.rollout
    if rollout:
        yield ""
        yield f"after {moment.second} s: {rollout.phase}; {rollout.message}"


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
