"""Scheduler, kubelet, resolver and gateways of a small world: pods get a node and run, weights are looked at.

One tick is a second. It is told what goes wrong, so that a test reads as a story. What the stages of a running group
do is in tests/fakes/cells.py.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache

from llama_operator.api import WEIGHTS_KIND, ChatStatus
from llama_operator.observe.findings import CLAIM, references
from llama_operator.ports import Manifest, Rejected, Retry, Seal, SupervisorAnswer
from llama_serving.config import names
from llama_serving.config.desired import DesiredState, WeightsArtifact
from llama_serving.config.gateway import FIRST_BYTE_BOUNDS, AdapterLoad, AnswerCounts, GatewayLoad, GroupLoad
from llama_serving.config.model import MANIFEST_KEY
from llama_serving.config.reasons import CellReason, ReportReason
from tests.fakes.cells import FakeCell, FakeCells
from tests.fakes.cluster import FakeCluster, set_condition
from tests.fakes.models import FACTS, Behaviour, digest_of, manifest_of, packed
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.traffic import Traffic

__all__ = ["FACTS", "FakeNodes"]

CRASHED = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
FAST, SLOW = 3, 13  # classes of FIRST_BYTE_BOUNDS


@dataclass
class FakeNodes:
    """Acts on the objects of a FakeCluster, and answers as supervisors and gateways."""

    cluster: FakeCluster
    stages: int = 2
    expected_starts: dict[str, float | None] = field(default_factory=dict)  # by gateway pod, as last told
    stages_of: dict[str, int] = field(default_factory=dict)  # by pod hash, where groups differ
    resolve_seconds: int = 1
    adapter_traffic: dict[str, AdapterLoad] = field(default_factory=dict)  # what the first gateway counts
    announced: dict[str, set[str]] = field(default_factory=dict)  # by uid of a leader: adapters at its first readiness
    request_seconds: int = 2  # how long a request still runs when its group leaves the rotation
    no_room: set[str] = field(default_factory=set)  # names of pods that the scheduler does not place
    absent_schedulers: set[str] = field(default_factory=set)  # names of schedulers that do not run
    unmounted: set[str] = field(default_factory=set)  # names of pods whose volumes are not mounted
    dead_nodes: set[str] = field(default_factory=set)
    bad_devices: dict[str, tuple[CellReason, str]] = field(default_factory=dict)  # node -> what its stages say
    good_pods: set[str] | None = None  # None: engines of all pods start
    failing_starts: bool = False  # engines that do not start end their containers, again and again
    missing_images: dict[str, str] = field(default_factory=dict)  # image -> what the kubelet says of it
    refused_config: str = ""  # what the engine says of its configuration in a rehearsal
    refused_configs: dict[str, str] = field(default_factory=dict)  # the same, where the cell's config has this text
    ended_images: dict[str, str] = field(default_factory=dict)  # image -> last words of its container
    unread_weights: dict[str, tuple[str, str]] = field(default_factory=dict)  # text in the spec -> reason and message
    missing_claims: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)  # names of pods whose supervisor or gateway is not heard
    gateways: int = 2
    traffic: Traffic = field(default_factory=Traffic)
    scheduler: FakeScheduler | None = None  # places pods by what nodes have; None: every pod finds a node
    cells: FakeCells = field(default_factory=FakeCells)
    broken: list[str] = field(default_factory=list)  # rules that were broken, as they were seen
    _looks: dict[str, int] = field(default_factory=dict)  # uid of a LlamaWeights -> seconds of looking
    _busy: dict[str, int] = field(default_factory=dict)  # uid of a leader -> seconds until its requests have ended
    _counts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(_zeros))  # by id of weights

    @property
    def start_seconds(self) -> int:
        """From all stages running to the first answer of the engine."""
        return self.cells.start_seconds

    @start_seconds.setter
    def start_seconds(self, value: int) -> None:
        self.cells.start_seconds = value

    def behave(self, revision: str, **what: object) -> None:
        """Say what is wrong with the weights of this revision."""
        self.cells.known[digest_of(revision)] = Behaviour(**what)  # type: ignore[arg-type]

    def tick(self) -> None:
        """A second passes."""
        self.cluster.now += timedelta(seconds=1)
        for body in list(self.cluster.objects.values()):
            if body["kind"] == WEIGHTS_KIND:
                self._resolve(body)
            if body["kind"] == "Deployment":
                count = body["spec"]["replicas"]
                body["status"] = {"replicas": count, "updatedReplicas": count, "availableReplicas": count}
                self._run_gateways(body)
        for pod in self.cluster.pods():
            self._step(pod)
            self._rehearse(pod)
        groups: dict[tuple[str, ...], list[Manifest]] = defaultdict(list)
        for pod in self.cluster.pods():
            if names.LABEL_STAGE in pod["metadata"]["labels"]:
                groups[_group(pod)].append(pod)
        for pods in groups.values():
            self._run_group(sorted(pods, key=lambda pod: str(pod["metadata"]["labels"][names.LABEL_STAGE])))
        self.traffic.tick(sum(one.ready for one in self._groups(first=True)))

    def _rehearse(self, pod: Manifest) -> None:
        """End a pod of a rehearsal as its image and its configuration have it."""
        if pod["metadata"]["labels"].get(names.LABEL_COMPONENT) != names.COMPONENT_REHEARSAL or "status" not in pod:
            return
        if pod["status"]["phase"] != "Running":
            return
        container = pod["spec"]["containers"][0]
        if said := self.missing_images.get(container["image"]):
            state = {"waiting": {"reason": "ErrImagePull", "message": said}}
            pod["status"] |= {"phase": "Pending", "containerStatuses": [{"name": container["name"], "state": state}]}
            return
        said, code = self._refusal(pod) if "--model" in container["args"] else "", names.EXIT_REFUSED
        if words := self.ended_images.get(container["image"]):
            said, code = words, 1
        ended = {"exitCode": code if said else 0, "message": said}
        pod["status"] |= {
            "phase": "Failed" if said else "Succeeded",
            "containerStatuses": [{"name": container["name"], "state": {"terminated": ended}}],
        }

    def _refusal(self, pod: Manifest) -> str:
        """What the engine has against the configuration that the pod mounts."""
        config = next(volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume)
        text = json.dumps(json.loads(self.cluster.objects["ConfigMap", config]["data"]["cell.json"]))
        return next((said for seen, said in self.refused_configs.items() if seen in text), self.refused_config)

    # -- resolver ------------------------------------------------------------------------------------------------------

    def _resolve(self, body: Manifest) -> None:
        meta, spec = body["metadata"], body["spec"]
        manifest = manifest_of(spec["source"], spec["revision"])
        behaves = self.cells.behaviour(manifest.digest)
        looks = self._looks[meta["uid"]] = self._looks.get(meta["uid"], 0) + 1
        if looks < self.resolve_seconds:
            return
        waits = next((said for seen, said in self.unread_weights.items() if seen in json.dumps(spec)), None)
        if waits and waits[0] not in set(ReportReason):  # a pod that waits is no verdict on the weights
            body["status"] = {"ready": False, "reason": waits[0], "message": waits[1]}
            return
        if refused := behaves.refused or waits:
            reason, message = refused
            look = {"key": "k", "number": 1, "at": "2026-01-01T00:00:00Z", "refused": True}
            body["status"] = {"ready": False, "reason": reason, "message": message, "lastResolve": look}
            return
        body["status"] = {
            "ready": True, "reason": "Accepted", "message": "fine", "digest": manifest.digest,
            "resolvedRevision": spec["revision"], "facts": behaves.facts.model_dump(),
            **({"chat": ChatStatus.model_validate(behaves.chat.model_dump()).to_api()} if behaves.chat else {}),
        }  # fmt: skip
        self.cluster.objects["ConfigMap", f"{meta['name']}-manifest"] = {
            "apiVersion": "v1", "kind": "ConfigMap", "binaryData": {MANIFEST_KEY: packed(manifest)},
            "metadata": {
                "name": f"{meta['name']}-manifest", "namespace": meta["namespace"], "uid": f"{meta['uid']}-manifest",
                "labels": {names.LABEL_WEIGHTS: meta["name"]}, "ownerReferences": [{"uid": meta["uid"]}],
            },
        }  # fmt: skip

    # -- kubelet -------------------------------------------------------------------------------------------------------

    def _step(self, pod: Manifest) -> None:
        meta, status = pod["metadata"], pod.setdefault("status", {"phase": "Pending"})
        if "deletionTimestamp" in meta:
            if pod["spec"].get("nodeName") not in self.dead_nodes:
                self.cluster.vanish("Pod", meta["name"])
        elif "nodeName" not in pod["spec"]:
            self._schedule(pod)
        elif status["phase"] == "Pending" and meta["name"] not in self.unmounted:
            status |= {"phase": "Running", "podIP": f"ip-of-{meta['name']}"}

    def _schedule(self, pod: Manifest) -> None:
        if pod["spec"].get("schedulingGates"):
            said = "Scheduling is blocked due to non-empty scheduling gates"
            set_condition(pod, "PodScheduled", False, message=said, reason="SchedulingGated")
            return
        if pod["spec"].get("schedulerName") in self.absent_schedulers:
            return
        if pod["metadata"]["name"] in self.no_room:
            set_condition(pod, "PodScheduled", False, message="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
            return
        if lacks := self.missing_claims & {one.name for one in references(pod) if one.kind == CLAIM}:
            said = f'0/2 nodes are available: persistentvolumeclaim "{min(lacks)}" not found. not found'
            set_condition(pod, "PodScheduled", False, message=said, reason="Unschedulable", at=self.cluster.now)
            return
        if self.scheduler:
            self.scheduler.place(pod)
            return
        set_condition(pod, "PodScheduled", True, at=self.cluster.now)
        pod["spec"]["nodeName"] = f"node-{pod['metadata']['labels'].get(names.LABEL_STAGE, '0')}"

    def _run_group(self, pods: list[Manifest]) -> None:
        labels = pods[0]["metadata"]["labels"]
        file = self._file(pods[0])
        good = self.good_pods is None or labels[names.LABEL_POD_HASH] in self.good_pods
        if file is None or str(labels[names.LABEL_STAGE]) != "0":
            return
        self.cells.step(pods, file, whole=self._whole(pods), good=good)
        if self.failing_starts and not good:
            self._crash(pods[0])
        leader = pods[0]
        answers = self.cells.answers(self.cells.of(leader))
        set_condition(leader, "ContainersReady", answers)
        conditions = {item["type"]: item["status"] for item in leader["status"]["conditions"]}
        gates = leader["spec"].get("readinessGates", [])
        open_ = all(conditions.get(gate["conditionType"]) == "True" for gate in gates)
        if conditions.get("Ready") == "True" and not open_:
            self._busy[leader["metadata"]["uid"]] = self.request_seconds
        set_condition(leader, "Ready", answers and open_)
        if answers and open_:
            self._count(leader)
        self._watch(leader)

    def _crash(self, leader: Manifest) -> None:
        statuses = leader["status"].setdefault("containerStatuses", [{"name": "stage", "restartCount": 0}])
        statuses[0] |= {"restartCount": statuses[0]["restartCount"] + 1, "state": {"waiting": CRASHED}}

    def _whole(self, pods: list[Manifest]) -> bool:
        running = all(pod.get("status", {}).get("phase") == "Running" for pod in pods)
        well = not any(pod["spec"].get("nodeName") in self.bad_devices for pod in pods)
        return bool(pods) and len(pods) == self._stages(pods[0]) and running and well

    def _stages(self, pod: Manifest) -> int:
        return self.stages_of.get(pod["metadata"]["labels"].get(names.LABEL_POD_HASH, ""), self.stages)

    def _file(self, pod: Manifest) -> WeightsArtifact | None:
        name = pod["metadata"]["name"].rpartition("-")[0]
        found = self.cluster.objects.get(("ConfigMap", name))
        text = found["data"].get("next.json") if found else None
        return _artifact(text) if text else None

    def _watch(self, leader: Manifest) -> None:
        """Rules of the data path that no state may break."""
        uid, cell = leader["metadata"]["uid"], self.cells.of(leader)
        if self._busy.get(uid, 0):
            self._busy[uid] -= 1
            if cell.swap and cell.swap.outcome == "running":
                self.broken.append(f"{leader['metadata']['name']} exchanges weights under its requests")
        ready = {one["type"]: one["status"] for one in leader["status"]["conditions"]}.get("Ready") == "True"
        if ready and cell.engine:
            self._watch_adapters(leader["metadata"], cell)
            self._watch_serving(leader["metadata"], cell.engine, passed=cell.verdict is not None)

    def _watch_adapters(self, meta: Manifest, cell: FakeCell) -> None:
        """What gateways may use is there; between two passes an engine may have got other bytes, and refuses the id."""
        said = json.loads(meta.get("annotations", {}).get(names.ANNOTATION_ADAPTERS, "{}"))
        if absent := said.keys() - cell.adapters.keys():
            self.broken.append(f"{meta['name']} is said to answer for {sorted(absent)}, which it has not")
        self.announced.setdefault(meta["uid"], set(said))

    def _watch_serving(self, meta: Manifest, engine: WeightsArtifact, *, passed: bool) -> None:
        behaves = self.cells.behaviour(engine.weights.digest)
        told = meta.get("annotations", {}).get(names.ANNOTATION_WEIGHTS)
        if told != engine.weights.id:
            self.broken.append(f"{meta['name']} answers with {engine.weights.id}, gateways say {told}")
        if not passed or not behaves.golden or behaves.error:
            self.broken.append(f"{meta['name']} serves {engine.weights.id}, which was not verified")

    # -- gateways ------------------------------------------------------------------------------------------------------

    def _run_gateways(self, deployment: Manifest) -> None:
        meta = deployment["metadata"]
        for number in range(self.gateways):
            name = f"{meta['name']}-{number}"
            labels = {
                names.LABEL_DEPLOYMENT: meta["labels"][names.LABEL_DEPLOYMENT],
                names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_COMPONENT: names.COMPONENT_GATEWAY,
            }  # fmt: skip
            status = {"phase": "Running", "podIP": f"ip-of-{name}", "conditions": [{"type": "Ready", "status": "True"}]}
            body = {
                "apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "node-0"}, "status": status,
                "metadata": {"name": name, "namespace": meta["namespace"], "uid": f"uid-{name}", "labels": labels},
            }  # fmt: skip
            self.cluster.objects.setdefault(("Pod", name), body)

    def _count(self, leader: Manifest) -> None:
        """Ten requests a second of each group that is in rotation."""
        engine = self.cells.of(leader).engine
        if engine is None:
            return
        behaves = self.cells.behaviour(engine.weights.digest)
        counts = self._counts[engine.weights.id]
        counts[0] += 5 if behaves.failing else 10
        counts[1] += 5 if behaves.failing else 0
        counts[2 + (SLOW if behaves.slow else FAST)] += 10

    async def load(self, address: str, *, start: float | None = None) -> GatewayLoad | None:
        """The port Gateways. The first gateway has it all: the sum over both is what counts."""
        name = address.removeprefix("ip-of-")
        if name in self.mute or ("Pod", name) not in self.cluster.objects:
            return None
        self.expected_starts[name] = start
        first = name.endswith("-0")
        counts = {key: self._answers(key) for key in self._counts} if first else {}
        traffic = self.traffic if first else Traffic(uptime=self.traffic.uptime)
        return GatewayLoad(
            waiting=traffic.waiting, oldest_wait=traffic.waited, in_flight=len(traffic.running), draining=False,
            uptime=traffic.uptime, arrived=traffic.work(traffic.arrived), served=traffic.work(traffic.served),
            waits=traffic.work(traffic.waiting), groups=self._groups(first=first),
            totals={"finished": sum(one.finished for one in counts.values())}, by_weights=counts,
            adapters=self.adapter_traffic if first else {},
        )  # fmt: skip

    def _answers(self, weights: str) -> AnswerCounts:
        counts = self._counts[weights]
        return AnswerCounts(finished=counts[0], failed=counts[1], first_byte=tuple(counts[2:]))

    def _groups(self, *, first: bool) -> tuple[GroupLoad, ...]:
        labelled = [(pod, pod["metadata"]["labels"]) for pod in self.cluster.pods()]
        leaders = [
            pod
            for pod, labels in labelled
            if labels.get(names.LABEL_STAGE) == "0" and labels.get(names.LABEL_GROUP, "").isdecimal()
        ]
        return tuple(self._group_load(pod, first=first) for pod in leaders)

    def _group_load(self, leader: Manifest, *, first: bool) -> GroupLoad:
        meta = leader["metadata"]
        conditions = {one["type"]: one["status"] for one in leader.get("status", {}).get("conditions", [])}
        return GroupLoad(
            name=meta["name"], group=int(meta["labels"][names.LABEL_GROUP]),
            weights=meta.get("annotations", {}).get(names.ANNOTATION_WEIGHTS, ""),
            ready=conditions.get("Ready") == "True", ejected=False,
            in_flight=int(first and self._busy.get(meta["uid"], 0) > 0),
        )  # fmt: skip

    # -- the port Cells ------------------------------------------------------------------------------------------------

    async def state(self, address: str) -> SupervisorAnswer:
        name = address.removeprefix("ip-of-")
        pod = self.cluster.objects.get(("Pod", name))
        if pod is None or name in self.mute:
            return SupervisorAnswer(None, "connection refused")
        mine = _group(pod)
        pods = [other for other in self.cluster.pods() if _group(other) == mine]
        leader = next((one for one in pods if one["metadata"]["labels"].get(names.LABEL_STAGE) == "0"), None)
        answer = self.cells.state(pod, leader, stages=self._stages(pod), whole=self._whole(pods))
        fault = self.bad_devices.get(pod["spec"].get("nodeName", ""))
        return self.cells.without_devices(pod, answer, fault, now=self.cluster.now) if fault else answer

    async def accepts(self, address: str, port: int) -> bool:
        """Refuse: the network of these nodes enforces NetworkPolicies."""
        del address, port
        return False

    async def put_desired_state(
        self, address: str, desired: DesiredState, *, token: str, seal: Seal | None = None
    ) -> str:
        name = address.removeprefix("ip-of-")
        pod = self.cluster.objects.get(("Pod", name))
        if pod is None or name in self.mute:
            return "connection refused"
        assert token, "a desired state without the group's token"

        def put() -> None:
            self.cells.of(pod).wish = desired

        try:
            self.cluster.call(f"wish {name} {desired.serve.id}", put)
        except (Retry, Rejected) as error:
            return str(error)
        return ""


@lru_cache(maxsize=64)  # asked for in each second of each world
def _artifact(text: str) -> WeightsArtifact:
    return WeightsArtifact.model_validate_json(text)


def _group(pod: Manifest) -> tuple[str, ...]:
    """What the stages of a group have in common; a pod that merely has their labels has another owner."""
    labels, owners = pod["metadata"]["labels"], pod["metadata"].get("ownerReferences", ())
    return labels.get(names.LABEL_GROUP, ""), labels.get(names.LABEL_POD_HASH, ""), *(one["uid"] for one in owners)


def _zeros() -> list[int]:
    return [0] * (len(FIRST_BYTE_BOUNDS) + 3)
