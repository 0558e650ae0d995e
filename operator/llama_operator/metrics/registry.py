"""What the operator remembers of every deployment for its metrics: the last pass, and counts since it began.

In memory only: a restart begins the counts at 0, as Prometheus expects. A deployment that is gone is forgotten, and its
series with it.
"""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from llama_operator.api import CPU, LlamaDeploymentStatus
from llama_operator.autoscaler_registry import AutoscalerRegistry
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView
from llama_operator.plan.explain import gateways_ready
from llama_operator.plan.reasons import Explanation
from llama_operator.ports import Key, Retry
from llama_serving.config.metrics import Distribution

#: Labels of every metric of a deployment.
LABELS: Final = ("namespace", "deployment")

#: Seconds; upper bounds of the classes of a pass, which is cut off after 60.
PASS_BOUNDS: Final = ("0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60")

_BOUNDS: Final = tuple(map(float, PASS_BOUNDS))


@dataclass
class DeploymentRecord:
    """One deployment: what its last pass has seen, and counts since the operator began."""

    key: Key
    status: LlamaDeploymentStatus | None = None  # None before its first pass has ended
    wanted: int | None = None
    in_rotation: int = 0
    gateways_ready: int = 0
    gateways_wanted: int = 0
    devices: Mapping[str, float] = field(default_factory=dict)
    restarts: int = 0
    phases: Counter[str] = field(default_factory=Counter)  # of rollouts, each time that one is entered
    refused: Counter[str] = field(default_factory=Counter)  # writes, by reason
    failures: Counter[str] = field(default_factory=Counter)  # passes, by cause
    pass_counts: list[int] = field(default_factory=lambda: [0] * (len(PASS_BOUNDS) + 1))
    pass_total: float = 0.0
    restarts_seen: dict[str, int] = field(default_factory=dict)  # by uid of the pod

    @property
    def labels(self) -> tuple[str, str]:
        """Values of LABELS."""
        return self.key.namespace, self.key.name

    @property
    def passes(self) -> Distribution:
        """Seconds of its passes."""
        return Distribution(PASS_BOUNDS, tuple(self.pass_counts), self.pass_total)

    def add_pass(self, seconds: float) -> None:
        """Count a pass."""
        self.pass_counts[bisect_left(_BOUNDS, seconds)] += 1
        self.pass_total += seconds

    def see(self, snapshot: Snapshot) -> None:
        """Take over what a pass has seen and reported."""
        before, self.status = self.status, snapshot.status
        self.in_rotation = sum(pod.stage == 0 and pod.alive and pod.in_rotation is True for pod in snapshot.stages)
        self.gateways_ready, self.gateways_wanted = gateways_ready(snapshot)
        self.devices = _held(snapshot)
        self._count_restarts(snapshot.stages, first=before is None)
        phase, last = _phase(snapshot.status), _phase(before) if before else ""
        if before is not None and phase != last:
            self.phases[phase] += bool(phase)

    def _count_restarts(self, pods: Iterable[PodView], *, first: bool) -> None:
        """Count restarts since the last pass; what was before the first one is not of this process."""
        now = {pod.uid: pod.restarts for pod in pods}
        if not first:
            self.restarts += sum(max(count - self.restarts_seen.get(uid, 0), 0) for uid, count in now.items())
        self.restarts_seen = now


@dataclass
class DeploymentRegistry:
    """All deployments, by uid: another object of the same name is another deployment."""

    known: dict[str, DeploymentRecord] = field(default_factory=dict)

    def keep(self, snapshot: Snapshot, *, wanted: int | None, problems: Iterable[Explanation]) -> None:
        """Keep what a pass has seen, its status with it, and what the API server refused."""
        record = self._record(snapshot.uid, snapshot.key)
        record.see(snapshot)
        record.wanted = wanted
        record.refused.update(str(problem.reason) for problem in problems)

    @contextmanager
    def measured(self, meta: Mapping[str, Any], clock: Callable[[], float]) -> Iterator[None]:
        """Measure a pass of the object with this metadata, and count it when it fails. ``clock`` in seconds."""
        began, cause = clock(), ""
        try:
            yield
        except Retry:
            cause = "retry"
            raise
        except asyncio.CancelledError:
            cause = "timeout"
            raise
        except Exception:
            cause = "bug"
            raise
        finally:
            if cause or meta.get("uid", "") in self.known:  # a pass that ends a deployment has forgotten it
                record = self._record(meta.get("uid", ""), Key(meta["namespace"], meta["name"]))
                record.add_pass(clock() - began)
                record.failures.update([cause] if cause else [])

    def forget(self, uid: str) -> None:
        """Forget a deployment that is gone."""
        self.known.pop(uid, None)

    def deployments(self) -> list[DeploymentRecord]:
        """List the deployments in the order of their keys."""
        return sorted(self.known.values(), key=lambda one: one.key)

    def _record(self, uid: str, key: Key) -> DeploymentRecord:
        return self.known.setdefault(uid, DeploymentRecord(key))


@dataclass(frozen=True)
class OperatorState:
    """What the operator's metrics are read from."""

    autoscalers: AutoscalerRegistry = field(default_factory=AutoscalerRegistry)
    deployments: DeploymentRegistry = field(default_factory=DeploymentRegistry)


def _phase(status: LlamaDeploymentStatus) -> str:
    return status.rollout.phase if status.rollout else ""


def _held(snapshot: Snapshot) -> dict[str, float]:
    """Add up what stage pods on nodes request of the device of the spec; also while they end."""
    if snapshot.spec is None:
        return {}
    resource = snapshot.spec.device.resource
    name = "cpu" if resource == CPU else resource
    pods = (pod for pod in snapshot.stages if pod.node and not pod.finished)
    return {resource: sum(pod.requests.get(name, 0) for pod in pods)}
