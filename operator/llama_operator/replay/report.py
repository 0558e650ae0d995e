"""Figures of a run, as a table or as JSON."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from llama_operator.replay.ours import Followed
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.simulate import Run
from llama_operator.replay.traces import Trace


@dataclass(frozen=True)
class Summary:
    """One policy on one trace. ``share``: of requests whose wait kept the limit; nan where waits are not known."""

    policy: str
    gpu_seconds: float
    share: float
    p50: float  # seconds of waiting
    p99: float
    turns: int  # changes of direction: a rise after a fall, or a fall after a rise
    most: int  # largest target


def summary(policy: str, run: Run, parameters: Parameters) -> Summary:
    """Compute the figures of a run."""
    waits = sorted(run.waits)
    return Summary(
        policy=policy,
        gpu_seconds=run.group_seconds * parameters.gpus,
        share=sum(1 for one in waits if one <= parameters.wait) / len(waits),
        p50=quantile(waits, 0.5),
        p99=quantile(waits, 0.99),
        turns=turns(run.targets),
        most=max(run.targets, default=0),
    )


def recorded(trace: Trace, parameters: Parameters) -> Summary:
    """Compute the figures of the deployment itself; a recording does not have the waits of single requests."""
    samples = trace.recorded
    seconds = sum((one.serving + one.starting) * (following.time - one.time) for one, following in pairwise(samples))
    targets = [one.target for one in samples]
    unknown = math.nan
    return Summary(
        "recorded", seconds * parameters.gpus, unknown, unknown, unknown, turns=turns(targets), most=max(targets)
    )


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the smallest value that this part of all values does not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def turns(targets: Iterable[int]) -> int:
    """Count how often the number began to go the other way."""
    found = direction = 0
    before: int | None = None
    for target in targets:
        if before is not None and target != before:
            now = 1 if target > before else -1
            found += direction == -now
            direction = now
        before = target
    return found


def table(rows: Sequence[Summary], least: float) -> str:
    """Write lines for a terminal; ``least`` is the bound in GPU-seconds, against which each row is held."""
    wide = max(len("clairvoyant bound"), *(len(one.policy) for one in rows))
    head = f"{'policy':<{wide}} {'GPU-seconds':>11} {'in time':>8} {'p50':>7} {'p99':>7} {'turns':>5} {'/ bound':>7}"
    lines = [head, f"{'clairvoyant bound':<{wide}} {least:>11.0f} {'99.00 %':>8} {'':>7} {'':>7} {'':>5} {1.0:>7.2f}"]
    for one in rows:
        lines.append(
            f"{one.policy:<{wide}} {one.gpu_seconds:>11.0f} {_percent(one.share):>8} {_wait(one.p50):>7}"
            f" {_wait(one.p99):>7} {one.turns:>5} {one.gpu_seconds / least:>7.2f}"
        )
    return "\n".join(lines)


def as_text(
    judged: Trace, rows: Sequence[Summary], *, least: float, warmup: float, followed: Sequence[Followed]
) -> str:  # fmt: skip
    """Write what was replayed, the table, and which rules our policy has followed.

    ``warmup``: seconds that were replayed before ``judged``.
    """
    behind = f", behind a warm-up of {warmup:.0f} s" if warmup else ""
    head = f"{judged.name}: {len(judged.requests)} requests in {judged.seconds:.0f} s{behind}"
    return "\n".join([head, table(rows, least), *(f"ours, from second {one.time:.0f}: {one.why}" for one in followed)])


def as_json(
    judged: Trace, rows: Sequence[Summary], *, least: float, warmup: float, followed: Sequence[Followed]
) -> str:  # fmt: skip
    """Write the same as JSON; what is unknown or endless is null."""
    policies = [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        for row in (asdict(one) for one in rows)
    ]
    content = {
        "trace": judged.name,
        "warmup_seconds": warmup,
        "requests": len(judged.requests),
        "seconds": judged.seconds,
        "bound_gpu_seconds": least,
        "policies": policies,
        "followed": [asdict(one) for one in followed],
    }
    return json.dumps(content, indent=2, allow_nan=False)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.2f} %"


def _wait(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return "never" if math.isinf(seconds) else f"{seconds:.1f} s"
