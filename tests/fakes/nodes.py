"""Scheduler, kubelet and cells of a small world: pods get a node and run, engines start, dying pods go.

One tick is a second. It is told what goes wrong, so that a test reads as a story.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from llama_operator.ports import CellAnswer, Manifest
from llama_serving.config import names
from llama_serving.config.model import ModelFacts, ModelReport
from llama_serving.config.state import CellReason, CellState, Phase
from tests.fakes.cluster import FakeCluster, set_condition

FACTS = ModelFacts(
    architecture="LlamaForCausalLM",
    layers=30,
    hidden_size=576,
    heads=9,
    kv_heads=3,
    head_dim=64,
    vocabulary=49152,
    max_context=8192,
    dtype="bfloat16",
    files=4,
    bytes=269_000_000,
)
ACCEPTED = ModelReport(outcome="accepted", reason="Accepted", message="fine", facts=FACTS)


@dataclass
class FakeNodes:
    """Acts on the pods of a FakeCluster, and answers as their supervisors."""

    cluster: FakeCluster
    start_seconds: int = 5  # from all stages running to the first answer of the engine
    stages: int = 2
    report: ModelReport = ACCEPTED
    no_room: set[str] = field(default_factory=set)  # names of pods that the scheduler does not place
    dead_nodes: set[str] = field(default_factory=set)
    good_revisions: set[str] | None = None  # None: engines of every revision start
    mute: set[str] = field(default_factory=set)  # names of pods whose supervisor is not heard
    _running: dict[str, int] = field(default_factory=dict)  # uid of a leader -> ticks with all stages running

    def tick(self) -> None:
        """A second passes."""
        self.cluster.now += timedelta(seconds=1)
        for pod in self.cluster.pods():
            self._step(pod)
        for body in self.cluster.objects.values():
            if body["kind"] == "Deployment":
                body["status"] = {"availableReplicas": body["spec"]["replicas"]}

    def _step(self, pod: Manifest) -> None:
        meta, status = pod["metadata"], pod.setdefault("status", {"phase": "Pending"})
        if "deletionTimestamp" in meta:
            if pod["spec"].get("nodeName") not in self.dead_nodes:
                self.cluster.vanish("Pod", meta["name"])
        elif "nodeName" not in pod["spec"]:
            self._schedule(pod)
        elif status["phase"] == "Pending":
            status |= {"phase": "Running", "podIP": f"ip-of-{meta['name']}"}
        elif meta["labels"][names.LABEL_COMPONENT] == names.COMPONENT_INSPECTOR:
            self._inspect(pod)
        else:
            self._serve(pod)

    def _schedule(self, pod: Manifest) -> None:
        if pod["metadata"]["name"] in self.no_room:
            set_condition(pod, "PodScheduled", False, "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
            return
        set_condition(pod, "PodScheduled", True)
        pod["spec"]["nodeName"] = f"node-{pod['metadata']['labels'].get(names.LABEL_STAGE, '0')}"

    def _inspect(self, pod: Manifest) -> None:
        ended = {"exitCode": 0, "message": self.report.model_dump_json(), "finishedAt": None}
        pod["status"] |= {"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": ended}}]}

    def _serve(self, pod: Manifest) -> None:
        meta = pod["metadata"]
        group = [other for other in self.cluster.pods() if _group(other) == _group(pod)]
        whole = len(group) == self.stages and all(other.get("status", {}).get("phase") == "Running" for other in group)
        good = self.good_revisions is None or meta["labels"][names.LABEL_REVISION] in self.good_revisions
        self._running[meta["uid"]] = self._running.get(meta["uid"], 0) + 1 if whole and good else 0
        answers = self._running[meta["uid"]] >= self.start_seconds
        set_condition(pod, "ContainersReady", answers)
        gates = pod["spec"].get("readinessGates", [])
        conditions = {item["type"]: item["status"] for item in pod["status"]["conditions"]}
        open_ = all(conditions.get(gate["conditionType"]) == "True" for gate in gates)
        set_condition(pod, "Ready", answers and open_)

    # -- the port Cells ---------------------------------------------------------------------------------------------

    async def state(self, address: str) -> CellAnswer:
        name = address.removeprefix("ip-of-")
        pod = self.cluster.objects.get(("Pod", name))
        if pod is None or name in self.mute:
            return CellAnswer(None, "connection refused")
        labels = pod["metadata"]["labels"]
        seconds = self._running.get(pod["metadata"]["uid"], 0)
        serves = seconds >= self.start_seconds
        phase = Phase.SERVING if serves else (Phase.LOADING if seconds else Phase.JOINING)
        reasons = {Phase.SERVING: CellReason.SERVING, Phase.LOADING: CellReason.ENGINE_STARTING}
        return CellAnswer(
            CellState(
                deployment=labels[names.LABEL_DEPLOYMENT],
                group=int(labels[names.LABEL_GROUP]),
                stage=int(labels[names.LABEL_STAGE]),
                revision=labels[names.LABEL_REVISION],
                weights="v1" if serves else "",
                phase=phase,
                reason=reasons.get(phase, CellReason.STAGES_NOT_JOINED),
                message=f"{phase} for {seconds} s",
                phase_seconds=seconds,
                uptime_seconds=seconds,
                stages_joined=self.stages if seconds else 1,
                stages_total=self.stages,
                ready=serves,
            )
        )


def _group(pod: Manifest) -> tuple[str, ...]:
    """What the stages of a group have in common; a pod that merely has their labels has another owner."""
    labels, owners = pod["metadata"]["labels"], pod["metadata"].get("ownerReferences", ())
    return labels.get(names.LABEL_GROUP, ""), labels.get(names.LABEL_REVISION, ""), *(one["uid"] for one in owners)
