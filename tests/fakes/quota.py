"""A ResourceQuota as the API server counts it: what pods request and limit, and how many there are."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llama_operator.observe.pods import pod_limits, pod_requests
from llama_operator.plan.placement.shortage import show_quantity
from llama_operator.ports import Manifest, Quota
from tests.fakes.cluster import FakeCluster


@dataclass
class FakeQuota:
    """Enforced on the pods of a namespace, and shown to who lists it, unless ``hidden``."""

    cluster: FakeCluster
    name: str
    hard: Mapping[str, float]
    hidden: bool = False

    def __post_init__(self) -> None:
        self.cluster.admission = self.refuses
        self.cluster.listed = self.shown

    def used(self) -> dict[str, float]:
        counts = counts_of(self.cluster.pods())
        return {name: counts.get(name, 0.0) for name in self.hard}

    def shown(self) -> tuple[Quota, ...]:
        return () if self.hidden else (Quota(self.name, self.hard, self.used()),)

    def refuses(self, manifest: Manifest) -> str:
        """Say what the API server says to a new object."""
        if manifest["kind"] != "Pod":
            return ""
        asked, used = counts_of([manifest]), self.used()
        short = [name for name in sorted(self.hard) if used[name] + asked.get(name, 0.0) > self.hard[name]]
        if not short:
            return ""
        told = [
            ",".join(f"{name}={show_quantity(amounts[name])}" for name in short) for amounts in (asked, used, self.hard)
        ]
        return (
            f'pods "{manifest["metadata"]["name"]}" is forbidden: exceeded quota: {self.name}, requested: {told[0]},'
            f" used: {told[1]}, limited: {told[2]}"
        )


def counts_of(pods: Iterable[Manifest]) -> dict[str, float]:
    """Count pods under the names of a quota."""
    counts: Counter[str] = Counter()
    for pod in pods:
        counts["pods"] += 1
        for prefix, amounts in (("requests", pod_requests(pod)), ("limits", pod_limits(pod))):
            for name, amount in amounts.items():
                counts[f"{prefix}.{name}"] += amount  # type: ignore[assignment]
    return dict(counts)
