"""The best form of a rule for a deployment: every setting of a grid is tried on a trace.

Best is the one with the fewest GPU-seconds of those that serve 99 % within the limit; where none does, the one with the
highest share, and of equal shares the cheapest. Targets are shares of a group's slots. What the grids hold is the knobs
that each system's own guide names first: target, windows, delays.
"""

from collections.abc import Iterator
from itertools import product

from llama_operator.replay.parameters import Parameters
from llama_operator.replay.registry import maker
from llama_operator.replay.report import Summary, summary
from llama_operator.replay.simulate import first_groups, simulate
from llama_operator.replay.traces import Trace

SHARE = 0.99  # of requests that shall not wait longer than the limit
_TARGETS = (0.4, 0.55, 0.7, 0.85, 1.0)  # of the slots
_DOWN = (60.0, 300.0, 900.0)  # seconds


def grid(name: str, slots: int) -> Iterator[dict[str, float]]:
    """List the settings that are tried for a rule."""
    if name == "knative":
        for share, stable, delay in product(_TARGETS, (60.0, 300.0), (0.0, 600.0)):
            yield {"utilisation": share, "stable": stable, "down_delay": delay}
    elif name == "ray":
        for share, (up, look), down in product(_TARGETS, ((30.0, 30.0), (0.0, 10.0)), _DOWN):
            yield {"target": share * slots, "up_delay": up, "look_back": look, "down_delay": down}
    else:
        for share, window in product(_TARGETS, _DOWN):
            yield {"target": share * slots, "down_window": window}


def rank(one: Summary) -> tuple[bool, float, float]:
    """Rank a run: the smaller, the better."""
    reached = one.share >= SHARE
    return (not reached, 0.0 if reached else -one.share, one.gpu_seconds)


def tune(name: str, trace: Trace, parameters: Parameters) -> dict[str, float]:
    """Find the settings that do best on this trace."""
    if name == "static":
        return {"groups": float(_enough(trace, parameters))}
    if name == "keda" and parameters.minReplicas:
        name = "hpa"  # between one group and many KEDA is its HPA: the same settings win
    tried = grid(name, parameters.slots)
    return min(tried, key=lambda one: rank(attempt(name, one, trace=trace, parameters=parameters)))


def _enough(trace: Trace, parameters: Parameters) -> int:
    """Find the fewest groups that serve 99 % in time, by halving: more of them never let a request wait longer."""
    low, high = 1, parameters.maxReplicas
    while low < high:
        middle = (low + high) // 2
        good = attempt("static", {"groups": float(middle)}, trace=trace, parameters=parameters).share >= SHARE
        low, high = (low, middle) if good else (middle + 1, high)
    return low


def attempt(
    name: str, settings: dict[str, float], *, trace: Trace, parameters: Parameters, warmup: float = 0.0
) -> Summary:
    """Run a rule once. A fixed number is there from the beginning; all others begin with the same number.

    ``warmup``: seconds that are replayed first and counted in no figure.
    """
    initial = int(settings["groups"]) if name == "static" else first_groups(trace, parameters)
    policy = maker(name, settings)(parameters, initial)
    return summary(name, simulate(trace, parameters, policy, initial=initial, warmup=warmup), parameters)
