"""Keys, rules, routes and Ingresses in a small world: what is written when, and a fault or a crash at every call."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.api import KIND
from llama_operator.edge.access_pass import reconcile_access, uses_access
from llama_operator.observe.exposure import HTTP_ROUTE
from llama_operator.ports import Rejected, Retry
from llama_serving.config import names
from llama_serving.config.access.rules import ACCESS_FILE, AccessRules
from llama_serving.config.gateway import GatewayConfig
from llama_serving.config.reasons import Reason
from tests.fakes.edge import GOOD_KEY
from tests.fakes.world import KEY, Crash, World, spec_of

RULES = ("Secret", "chat-access")
CONFIG = ("ConfigMap", "chat-gateway")
KEYS: dict[str, Any] = {"mode": "keys"}
ROUTE: dict[str, Any] = {"route": {"parents": [{"name": "front"}]}}
WAY_IN: dict[str, Any] = {"ingress": {"host": "chat.example.com", "className": "nginx"}}


class EdgeWorld(World):
    """A world in which the loop of the rules runs too, before each pass."""

    async def one_pass(self) -> None:
        body = self.cluster.objects[KIND, KEY.name]
        if uses_access(body):
            await self.rules_pass()
        await super().one_pass()

    async def rules_pass(self) -> None:
        body = self.cluster.objects[KIND, KEY.name]
        try:
            await reconcile_access(body, cluster=self.cluster, settings=self.settings, faults=self.access_faults)
        except (Retry, Rejected):
            return
        except Crash:
            self.restart()

    def rules(self) -> AccessRules:
        return AccessRules.model_validate_json(encoded_text(self.cluster.objects[RULES]["data"]))

    def pods(self) -> dict[str, str]:
        """Stage pods by uid, and the template of the gateways."""
        template = self.cluster.objects["Deployment", "chat-gateway"]["spec"]["template"]
        return self.stage_uids() | {"gateway": str(template)}


def encoded_text(data: dict[str, str]) -> str:
    assert list(data) == [ACCESS_FILE]
    return base64.b64decode(data[ACCESS_FILE]).decode()


def small(**spec: Any) -> EdgeWorld:
    world = EdgeWorld(spec_of(replicas=1, sharding={"pipeline": 1, "tensor": 1}, **spec))
    world.nodes.start_seconds = 1
    return world


async def with_keys(*given: str) -> EdgeWorld:
    world = small(access=KEYS)
    for name in given:
        world.cluster.put_key(name)
    await world.settle()
    return world


async def test_rules_come_with_their_owner_and_hold_no_key() -> None:
    world = await with_keys("ann", "bob")
    secret = world.cluster.objects[RULES]
    meta = secret["metadata"]
    assert meta["ownerReferences"][0]["uid"] == world.cluster.objects[KIND, KEY.name]["metadata"]["uid"]
    assert meta["labels"][names.LABEL_ACCESS_KEY] == names.ACCESS_RULES
    assert [one.name for one in world.rules().keys] == ["ann", "bob"]
    assert GOOD_KEY not in encoded_text(secret["data"])
    assert GOOD_KEY not in str(world.cluster.objects[KIND, KEY.name]["status"])
    config = GatewayConfig.model_validate_json(world.cluster.objects[CONFIG]["data"]["gateway.json"])
    assert config.access
    assert world.status.access is not None
    assert (world.status.access.keys_ready, world.status.reason) == (2, Reason.SERVING)


async def test_gateways_may_watch_this_secret_and_no_other() -> None:
    world = await with_keys("ann")
    (found,) = [one for one in world.cluster.objects["Role", "chat-gateway"]["rules"] if "secrets" in one["resources"]]
    assert found["resourceNames"] == ["chat-access"]
    assert found["verbs"] == ["get", "list", "watch"]


async def test_a_change_of_keys_is_one_write_and_replaces_no_pod() -> None:
    world = await with_keys("ann", "bob")
    before, pods = len(world.cluster.writes), world.pods()
    world.cluster.vanish("Secret", "bob")
    await world.rules_pass()
    assert world.cluster.writes[before:] == ["apply Secret chat-access"]
    assert [one.name for one in world.rules().keys] == ["ann"]
    world.cluster.put_key("cem", tokensPerMinute="60")
    await world.settle()
    assert [one.name for one in world.rules().keys] == ["ann", "cem"]
    assert world.pods() == pods


async def test_nothing_is_written_when_nothing_changed() -> None:
    world = await with_keys("ann")
    before = list(world.cluster.writes)
    world.cluster.objects["Secret", "ann"]["metadata"]["annotations"] = {"seen": "by somebody"}
    world.cluster.put_key("for-another", deployment="other")
    for _ in range(5):
        await world.rules_pass()
    world.restart()
    await world.rules_pass()
    assert world.cluster.writes == before


async def test_what_somebody_did_to_the_rules_is_undone() -> None:
    world = await with_keys("ann")
    good = world.cluster.objects[RULES]["data"][ACCESS_FILE]
    world.cluster.objects[RULES]["data"][ACCESS_FILE] = "e30K"
    await world.rules_pass()
    assert world.cluster.objects[RULES]["data"][ACCESS_FILE] == good
    world.cluster.vanish(*RULES)
    await world.rules_pass()
    assert world.cluster.objects[RULES]["data"][ACCESS_FILE] == good


async def test_a_key_whose_secret_is_being_deleted_is_revoked() -> None:
    world = await with_keys("ann", "bob")
    world.cluster.objects["Secret", "ann"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    await world.rules_pass()
    assert [one.name for one in world.rules().keys] == ["bob"]


async def test_without_the_right_rules_stay_as_they_are_and_the_status_says_it() -> None:
    world = await with_keys("ann")
    good, before = dict(world.cluster.objects[RULES]["data"]), len(world.cluster.writes)
    world.cluster.may_watch_secrets = False
    await world.rules_pass()
    assert world.cluster.objects[RULES]["data"] == good
    assert len(world.cluster.writes) == before
    await world.one_pass()
    assert world.status.reason == Reason.ACCESS_UNREADABLE
    assert "rbac.accessKeys=true" in world.status.message


async def test_a_secret_of_somebody_else_is_not_taken_over() -> None:
    world = small(access=KEYS)
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat-access", "uid": "x"}, "data": {"a": "b"}}
    world.cluster.objects[RULES] = theirs
    await world.seconds(3)
    assert world.cluster.objects[RULES] == theirs
    assert world.status.reason == Reason.ACCESS_UNREADABLE
    assert "belongs to nobody" in world.status.message


async def test_rules_go_with_the_field_once_gateways_go_by_it() -> None:
    world = await with_keys("ann")
    world.cluster.edit(KEY, lambda spec: spec.pop("access"))
    await world.settle()
    assert RULES not in world.cluster.objects
    assert world.status.access is None
    assert ("Secret", "ann") in world.cluster.objects, "the key is the user's"
    (pods,) = world.cluster.objects["Role", "chat-gateway"]["rules"]
    assert pods["resources"] == ["pods"]


async def test_the_open_mode_needs_no_key() -> None:
    world = small(access={"mode": "open", "clients": {"requestsPerMinute": 6}})
    await world.settle()
    assert world.rules().client.requests_per_minute == 6
    assert world.status.reason == Reason.SERVING


# -- routes and Ingresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gateway", "kind"), [(ROUTE, "HTTPRoute"), (WAY_IN, "Ingress")])
async def test_a_way_in_comes_and_goes_with_its_field(gateway: dict[str, Any], kind: str) -> None:
    world = small(gateway=gateway)
    await world.settle()
    found = world.cluster.objects[kind, "chat-gateway"]
    assert found["metadata"]["ownerReferences"][0]["controller"] is True
    assert world.status.exposed == (kind,)
    world.cluster.edit(KEY, lambda spec: spec.update(gateway={}))
    await world.settle()
    assert (kind, "chat-gateway") not in world.cluster.objects
    assert not world.status.exposed


async def test_without_the_crd_all_else_is_made_and_the_route_follows_the_crd() -> None:
    world = small(gateway=ROUTE)
    world.cluster.kinds.discard(HTTP_ROUTE)
    await world.settle()
    assert world.status.reason == Reason.ROUTE_UNAVAILABLE
    assert world.status.ready_replicas == 1
    world.cluster.kinds.add(HTTP_ROUTE)
    await world.settle()
    assert (HTTP_ROUTE, "chat-gateway") in world.cluster.objects
    assert world.status.reason == Reason.SERVING


async def test_an_ingress_of_somebody_else_is_left_alone() -> None:
    world = small(gateway=WAY_IN)
    theirs = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "chat-gateway", "uid": "x"}}
    world.cluster.objects["Ingress", "chat-gateway"] = dict(theirs)
    await world.seconds(5)
    assert world.cluster.objects["Ingress", "chat-gateway"] == theirs


async def test_a_deployment_without_these_fields_asks_for_nothing_more() -> None:
    world = small()
    await world.settle()
    asked = {
        call for call in world.cluster.calls if "watched Secrets" in call or "HTTPRoute" in call or "Ingress" in call
    }
    assert asked == set()


# -- a fault at every call, a crash at every write ---------------------------------------------------------------------

EDITS: list[Callable[[EdgeWorld], None]] = [
    lambda world: world.cluster.edit(KEY, lambda spec: spec.update(access=KEYS, gateway=ROUTE)),
    lambda world: world.cluster.vanish("Secret", "ann"),
    lambda world: world.cluster.edit(KEY, lambda spec: (spec.pop("access", None), spec.update(gateway=WAY_IN))),
]


def edges_of(world: EdgeWorld) -> dict[str, Any]:
    """What must be the same in the end, whatever happened on the way."""
    rules = world.cluster.objects.get(RULES)
    return world.shape() | {"rules": rules and rules["data"], "exposed": world.status.exposed}


def telling_calls(calls: list[str], first: int) -> list[int]:
    """Those about what is at the edge, of each the first two: a settled world asks the same again and again."""
    kinds = ("Secret", "HTTPRoute", "Ingress", "Role", "Deployment", "status")
    found: list[int] = []
    for number in range(first, len(calls)):
        alike = sum(calls[other] == calls[number] for other in found)
        if alike < 2 and any(kind in calls[number] for kind in kinds) and not calls[number].startswith("event"):
            found.append(number)
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["fault", "late", "crash"])
@pytest.mark.parametrize("number", range(len(EDITS)))
async def test_any_call_may_fail(number: int, how: str) -> None:
    calm = small()
    calm.cluster.put_key("ann")
    calm.cluster.put_key("bob")
    await calm.settle()
    for edit in EDITS[:number]:
        edit(calm)
        await calm.settle()
    before = calm.fork()
    first = len(calm.cluster.calls)
    EDITS[number](calm)
    await calm.settle()
    tried = 0
    for call in telling_calls(calm.cluster.calls, first):
        world: Any = before.fork()
        EDITS[number](world)
        faults = world.cluster.late_faults if how == "late" else world.cluster.faults
        faults[call] = Crash() if how == "crash" else Retry("the API server did not answer")
        await world.settle()
        assert edges_of(world) == edges_of(calm), f"after call {call}, {calm.cluster.calls[call]}"
        tried += 1
    assert tried > 2


@given(st.lists(st.tuples(st.sampled_from(("put", "drop", "break")), st.sampled_from("abc")), max_size=8))
@settings(max_examples=25, deadline=None)
async def test_rules_hold_exactly_the_good_keys_after_any_history(steps: list[tuple[str, str]]) -> None:
    world = small(access=KEYS)
    there: dict[str, bool] = {}
    for what, name in steps:
        if what == "drop":
            world.cluster.vanish("Secret", name)
            there.pop(name, None)
        else:
            world.cluster.put_key(name, **({} if what == "put" else {"weight": "none"}))
            there[name] = what == "put"
        await world.rules_pass()
        assert [one.name for one in world.rules().keys] == sorted(name for name, good in there.items() if good)
