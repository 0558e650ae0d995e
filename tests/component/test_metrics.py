"""What a scrape of the operator shows of every deployment, with and without autoscaling, until it is gone."""

import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llama_operator.api import KIND
from llama_operator.metrics.registry import DeploymentRegistry, OperatorState
from llama_operator.metrics.table import METRICS
from llama_operator.ports import Rejected, Retry
from llama_serving.config.metrics import exposition
from tests.fakes.world import KEY, World, spec_of

META = {"uid": "u", "namespace": "team", "name": "chat"}


def scraped(state: OperatorState) -> dict[tuple[str, ...], float]:
    """Samples by the metric's name without its prefix, and the values of the labels but namespace and deployment."""
    found = {}
    for family in text_string_to_metric_families(exposition(METRICS, lambda: state)().decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("namespace"), labels.pop("deployment")) == ("team", "chat")
            found[sample.name.removeprefix("llama_operator_"), *labels.values()] = sample.value
    return found


def scrape(world: World) -> dict[tuple[str, ...], float]:
    return scraped(OperatorState(world.autoscalers, world.deployments))


async def test_a_deployment_without_autoscaling_shows_its_groups_and_devices() -> None:
    world = World()
    await world.settle()
    found = scrape(world)
    wanted = {
        ("groups_wanted",): 2, ("groups_ready",): 2, ("groups_in_rotation",): 2, ("groups", "Serving"): 2,
        ("groups", "Failed"): 0, ("gateways_wanted",): 2, ("gateways_ready",): 2, ("condition", "Ready"): 1,
        ("condition", "Stalled"): 0, ("reason", "Serving"): 1, ("restarts_total",): 0,
        ("rollouts_total", "Held"): 0, ("rollout_phase", "Held"): 0, ("pass_failures_total", "bug"): 0,
    }  # fmt: skip
    assert {key: found.get(key) for key in wanted} == wanted
    per_pod = 4.05  # cores: of the stage, and of its stager
    assert found["devices", "cpu"] == pytest.approx(2 * 2 * per_pod, rel=0.05)
    assert not [key for key in found if key[0].startswith("autoscaling")]


async def test_a_rollout_that_is_held_and_the_restarts_on_the_way_are_counted() -> None:
    world = World()
    await world.settle()
    world.nodes.good_pods = {group.pod_hash for group in world.status.groups}
    world.nodes.failing_starts = True
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=1024))
    await world.settle(400)
    found = scrape(world)
    phases = {key[1]: value for key, value in found.items() if key[0] == "rollout_phase"}
    assert phases == {"Rehearsing": 0, "RollingOut": 0, "RollingBack": 0, "Held": 1, "Failed": 0, "Done": 0}
    entered = {key[1]: value for key, value in found.items() if key[0] == "rollouts_total"}
    assert entered == {"Rehearsing": 1, "RollingOut": 1, "RollingBack": 1, "Held": 1, "Failed": 0, "Done": 0}
    assert found["restarts_total",] > 0
    assert found["groups_ready",] == 2
    assert found["condition", "Stalled"] == 1


async def test_a_write_that_is_refused_is_counted() -> None:
    world = World()

    def no_deployments(call: str) -> None:
        if call.startswith("apply Deployment"):
            raise Rejected("exceeded quota")

    world.cluster.intercept = no_deployments
    await world.settle()
    assert scrape(world)["write_failures_total", "ApiRejected"] > 0


async def test_the_series_of_a_deployment_go_with_it() -> None:
    world = World(spec_of(autoscaling={"minReplicas": 1, "maxReplicas": 2}, replicas=1))
    await world.settle()
    assert ("autoscaling_desired_groups",) in scrape(world)
    world.cluster.objects[KIND, KEY.name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    await world.one_pass()
    assert scrape(world) == {}


def clock(*moments: float) -> Iterator[float]:
    return iter(moments)


@pytest.mark.parametrize(
    ("error", "cause"), [(Retry("429"), "retry"), (ValueError("x"), "bug"), (asyncio.CancelledError(), "timeout")]
)
def test_a_pass_that_fails_is_counted_by_its_cause(error: BaseException, cause: str) -> None:
    registry, moments = DeploymentRegistry(), clock(10.0, 10.3)
    with pytest.raises(type(error)), registry.measured(META, lambda: next(moments)):
        raise error
    found = scraped(OperatorState(deployments=registry))
    assert {key[1]: value for key, value in found.items() if key[0] == "pass_failures_total"} == {
        "retry": 0, "timeout": 0, "bug": 0
    } | {cause: 1}  # fmt: skip
    assert found["pass_seconds_sum",] == pytest.approx(0.3)
    assert (found["pass_seconds_bucket", "0.25"], found["pass_seconds_bucket", "0.5"]) == (0, 1)
    assert ("groups_ready",) not in found, "nothing was seen of it yet"
    registry.forget("u")
    assert scraped(OperatorState(deployments=registry)) == {}


def test_the_pass_that_forgets_a_deployment_leaves_nothing() -> None:
    registry, moments = DeploymentRegistry(), clock(1.0, 2.0)
    with registry.measured(META, lambda: next(moments)):
        registry.forget("u")
    assert registry.deployments() == []
