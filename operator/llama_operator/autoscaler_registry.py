"""What the operator remembers of autoscaled deployments between two passes, in memory only, and shows of it.

Losing it loses a recording of an hour and the look of the windows at the past, and changes no target: what a restart
must not forget is in the status. Metrics are of this process: counters begin at 0 with it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from llama_operator.plan.autoscaling.memory import NOTHING, Recall, Scaled
from llama_operator.plan.autoscaling.recording import HEADER, Sample, line, sample
from llama_operator.ports import Key

RING = 3600  # readings; about an hour


@dataclass
class Watched:
    """One autoscaled deployment."""

    key: Key
    last: Scaled
    recall: Recall
    ring: deque[Sample] = field(default_factory=lambda: deque(maxlen=RING))
    up: int = 0  # decisions so far
    down: int = 0


@dataclass
class AutoscalerRegistry:
    """All of them, by uid: another object of the same name is another deployment."""

    known: dict[str, Watched] = field(default_factory=dict)

    def recall(self, uid: str) -> Recall:
        """What the last pass has left; nothing when there was none."""
        found = self.known.get(uid)
        return found.recall if found else NOTHING

    def keep(self, key: Key, uid: str, scaled: Scaled | None, now: datetime) -> None:
        """After a pass whose decision is written. None: there is no autoscaling any more."""
        if scaled is None:
            self.known.pop(uid, None)
            return
        watched = self.known.setdefault(uid, Watched(key, scaled, scaled.recall))
        before = watched.last.target
        watched.last, watched.recall = scaled, scaled.recall
        watched.up += int(scaled.target > before)
        watched.down += int(scaled.target < before)
        watched.ring.append(sample(scaled.load, scaled.groups, target=scaled.target, time=now.timestamp()))

    def recording(self, key: Key) -> str | None:
        """The last hour as CSV, as ``python -m llama_operator.replay replay`` reads it; None: not known."""
        found = [watched for watched in self.known.values() if watched.key == key]
        return "".join(f"{text}\n" for text in (HEADER, *map(line, found[-1].ring))) if found else None

    def metrics(self) -> str:
        """All deployments in Prometheus' text format."""
        return "".join(f"{text}\n" for text in self._lines())

    def _lines(self) -> Iterator[str]:
        gauges: dict[str, tuple[str, Callable[[Watched], int]]] = {
            "desired_groups": ("Groups that are wanted.", lambda one: one.last.target),
            "serving_groups": ("Groups that get requests.", lambda one: one.last.groups.serving),
            "starting_groups": ("Groups on their way.", lambda one: len(one.last.groups.starting)),
            "held_groups": ("Groups that wait for room.", lambda one: one.last.groups.held),
            "leaving_groups": ("Groups that drain.", lambda one: one.last.groups.leaving),
            "waiting_requests": ("Requests that wait in the gateways.", lambda one: one.last.load.waiting),
            "load_known": ("1 when all gateways have answered.", lambda one: int(one.last.load.known)),
        }
        ordered = sorted(self.known.values(), key=lambda one: one.key)
        for name, (text, value) in gauges.items():
            yield from _head(f"llama_operator_autoscaling_{name}", "gauge", text)
            for one in ordered:
                yield f"llama_operator_autoscaling_{name}{{{_labels(one.key)}}} {value(one)}"
        yield from _head("llama_operator_autoscaling_reason", "gauge", "1; the label says why so many are wanted now.")
        for one in ordered:
            yield f'llama_operator_autoscaling_reason{{{_labels(one.key)},reason="{one.last.reason}"}} 1'
        yield from _head("llama_operator_autoscaling_decisions_total", "counter", "Changes of the number of groups.")
        for one in ordered:
            for direction, count in (("up", one.up), ("down", one.down)):
                labels = f'{_labels(one.key)},direction="{direction}"'
                yield f"llama_operator_autoscaling_decisions_total{{{labels}}} {count}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _labels(key: Key) -> str:
    """Names of Kubernetes need no escaping."""
    return f'namespace="{key.namespace}",deployment="{key.name}"'
