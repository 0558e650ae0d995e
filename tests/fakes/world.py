"""A whole small world in one line: ``World(replicas=2)``, then ``await world.settle()``."""

from dataclasses import dataclass, field
from typing import Any

from llama_operator.api import KIND, LlamaDeploymentStatus
from llama_operator.autoscaler_registry import AutoscalerRegistry
from llama_operator.edge.access_pass import AccessFaults
from llama_operator.metrics.registry import DeploymentRegistry
from llama_operator.observe.rehearsal import AdmissionAnswer
from llama_operator.own_writes import OwnWrites
from llama_operator.plan.settings import Settings
from llama_operator.ports import Key, Rejected, Retry
from llama_operator.reconcile import Edges, reconcile
from llama_operator.supervisor_cache import SupervisorCache
from llama_serving.config import names
from tests.fakes.cluster import FakeCluster, clone
from tests.fakes.nodes import FakeNodes


class Crash(BaseException):
    """The process is gone in the middle of a pass; not even a ``finally`` of ours would help."""


KEY = Key("team", "chat")
SETTINGS = Settings("serving:1", "gateway:1", "llama-system", serving_gpu_image="serving:1")


def spec_of(**changes: Any) -> dict[str, Any]:
    """A valid spec of two stages on CPU."""
    spec: dict[str, Any] = {
        "model": {"source": "pvc://models/m", "revision": "v1", "license": "apache-2.0", "acceptLicense": True},
        "contextLength": 2048,
        "replicas": 2,
        "sharding": {"pipeline": 2, "tensor": 1},
        "device": {"resource": "cpu", "count": 1},
        "resources": {"cpu": "4", "memory": "32Gi", "sharedMemory": "2Gi"},
    }
    return spec | changes


@dataclass
class World:
    """A FakeCluster with nodes and one LlamaDeployment; ``now`` is the cluster's."""

    spec: dict[str, Any] = field(default_factory=spec_of)
    settings: Settings = SETTINGS

    def __post_init__(self) -> None:
        self.cluster = FakeCluster()
        self.nodes = FakeNodes(self.cluster, stages=self.spec["sharding"]["pipeline"])
        self.cluster.create_deployment(KEY, self.spec)
        self.pause = 0.0  # seconds to the next pass, as the last one asked
        self.restart()

    def restart(self) -> None:
        """Another process of the operator: it remembers nothing."""
        self.autoscalers = AutoscalerRegistry()
        self.supervisor_caches: dict[str, SupervisorCache] = {}
        self.admission_answers: dict[str, AdmissionAnswer] = {}
        self.deployments = DeploymentRegistry()
        self.own_writes: dict[str, OwnWrites] = {}
        self.access_faults = AccessFaults()

    @property
    def status(self) -> LlamaDeploymentStatus:
        return LlamaDeploymentStatus.model_validate(self.cluster.objects[KIND, KEY.name].get("status") or {})

    async def one_pass(self) -> None:
        """A pass of the loop; one that fails is tried again at the next call, by a new process after a crash."""
        try:
            self.pause = await reconcile(
                self.cluster.bodies(KEY),
                edges=Edges(
                    self.cluster,
                    self.nodes,
                    self.nodes,
                    autoscalers=self.autoscalers,
                    supervisor_caches=self.supervisor_caches,
                    admission_answers=self.admission_answers,
                    deployments=self.deployments,
                    own_writes=self.own_writes,
                    access_faults=self.access_faults,
                ),
                settings=self.settings,
                now=self.cluster.now,
            )
        except (Retry, Rejected):
            return
        except Crash:
            self.restart()

    async def seconds(self, count: int) -> None:
        """``count`` seconds with a pass in each."""
        for _ in range(count):
            await self.one_pass()
            self.nodes.tick()

    async def settle(self, limit: int = 200, *, moments: "list[World] | None" = None) -> int:
        """Until a pass writes nothing for five seconds of the world; returns the seconds it took.

        ``moments`` gets a copy of the world before each pass.
        """
        quiet = 0
        for second in range(limit):
            if moments is not None:
                moments.append(self.fork())
            before = len(self.cluster.writes)
            await self.one_pass()
            self.nodes.tick()
            quiet = quiet + 1 if len(self.cluster.writes) == before else 0
            if quiet == 5 + self.nodes.start_seconds:
                return second
        raise AssertionError(f"not settled after {limit} s; last: {self.cluster.writes[-6:]}; {self.status.message}")

    def fork(self) -> "World":
        """A copy of this world at this moment."""
        twin: World = clone(self)
        return twin

    def shape(self) -> dict[str, Any]:
        """What two worlds must agree on to be in the same state: objects without what time and chance gave them."""
        return {
            f"{kind}/{name}": {part: body.get(part) for part in ("spec", "data", "rules", "subjects") if part in body}
            for (kind, name), body in sorted(self.cluster.objects.items())
            if kind != "Secret"
        } | {"status": (self.status.groups_ready, self.status.reason, self.status.weights)}

    def stage_uids(self) -> dict[str, str]:
        return {name: self.cluster.objects["Pod", name]["metadata"]["uid"] for name in self.stage_names()}

    def stage_names(self) -> list[str]:
        return [
            pod["metadata"]["name"]
            for pod in self.cluster.pods()
            if pod["metadata"]["labels"][names.LABEL_COMPONENT] == names.COMPONENT_STAGE
        ]
