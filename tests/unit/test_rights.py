"""Rights beside uses: what is granted for nothing, asked for without a right, or read again and again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.rights import Right, Use, ends_of, floods, granted_to, rights_of, ungranted, unused, uses_of
from tests.rights import GATEWAY, OPERATOR, RESOLVER

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
PODS = {"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["list", "patch"]}
LIST, PATCH = Right("", "pods", "list"), Right("", "pods/status", "patch")


def event(verb: str = "list", *, at: datetime = NOON, user: str = "op", decision: str = "allow", **about: Any) -> Any:
    return {
        "verb": verb, "user": {"username": user}, "requestReceivedTimestamp": at.isoformat(),
        "annotations": {"authorization.k8s.io/decision": decision},
        "objectRef": {"resource": "pods", "namespace": "team", "apiVersion": "v1", **about},
    }  # fmt: skip


def used(*events: Any) -> list[Use]:
    return [use for one in events for use in uses_of(one)]


def test_rules_are_the_product_of_groups_resources_and_verbs() -> None:
    other = {"apiGroups": ["apps"], "resources": ["x"], "verbs": ["get"]}
    assert {str(right) for right in rights_of([PODS, other])} == {
        "list pods", "patch pods", "list pods/status", "patch pods/status", "get x.apps",
    }  # fmt: skip


@pytest.mark.parametrize("part", ["apiGroups", "resources", "verbs"])
def test_a_wildcard_is_no_rule(part: str) -> None:
    with pytest.raises(ValueError, match="grants everything"):
        rights_of([{**PODS, part: ["*"]}])


def test_an_account_has_what_is_bound_to_it() -> None:
    def role(kind: str, namespace: str, verb: str) -> dict[str, Any]:
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]
        return {"kind": kind, "metadata": {"name": "r", "namespace": namespace}, "rules": rules}

    def binding(kind: str, namespace: str, subject: str) -> dict[str, Any]:
        place, _, name = subject.partition("/")
        subjects = [{"kind": "ServiceAccount", "name": name, "namespace": place}]
        return {"metadata": {"namespace": namespace}, "roleRef": {"kind": kind, "name": "r"}, "subjects": subjects}

    roles = [role("Role", "team", "list"), role("Role", "other", "get"), role("ClusterRole", "", "watch")]
    bindings = [
        binding("Role", "team", "team/op"),
        binding("ClusterRole", "", "team/op"),
        binding("Role", "other", "x/y"),
    ]
    found = granted_to("team/op", bindings=bindings, roles=roles)
    assert {str(right) for right in found} == {"list pods", "watch pods"}
    assert granted_to("team/nobody", bindings=bindings, roles=roles) == frozenset()


def test_a_use_has_its_subresource_and_health_checks_are_none() -> None:
    (use,) = used(event("patch", subresource="status", name="chat-0"))
    assert (use.right, use.name, use.allowed) == (PATCH, "chat-0", True)
    assert str(use) == "op: patch pods/status team/chat-0"
    assert uses_of({**event(), "objectRef": None}) == ()
    assert uses_of({key: value for key, value in event().items() if key != "objectRef"}) == ()


def test_an_apply_that_makes_an_object_creates_it() -> None:
    applied = event("patch", name="chat-0")
    assert [use.right.verb for use in used({**applied, "responseStatus": {"code": 201}})] == ["patch", "create"]
    assert [use.right.verb for use in used({**applied, "responseStatus": {"code": 200}})] == ["patch"]


def test_a_right_that_nobody_used_needs_a_reason_and_a_reason_a_right() -> None:
    granted, uses = {LIST, PATCH}, used(event())
    assert unused(granted, uses, reasons={}) == ["patch pods/status is granted and was not used"]
    assert unused(granted, uses, reasons={PATCH: "once a year"}) == []
    gone = Right("", "secrets", "list")
    assert unused({LIST}, uses, reasons={gone: "was needed"}) == ["list secrets has a reason and is not granted"]


def test_a_refused_request_is_no_use_of_a_right() -> None:
    uses = used(event(decision="forbid"))
    assert unused({LIST}, uses, reasons={}) == ["list pods is granted and was not used"]
    assert ungranted({LIST}, uses) == ["op: list pods team is not granted"]


@pytest.mark.parametrize(("after", "said"), [(-1, 1), (0, 0), (30, 0), (61, 1)])
def test_who_outlives_its_binding_is_refused_for_a_minute(after: float, said: int) -> None:
    gone = event("delete", resource="rolebindings", name="op", user="collector", at=NOON)
    gone["objectRef"]["apiGroup"] = "rbac.authorization.k8s.io"
    user = "system:serviceaccount:team:op"
    refused = event(decision="forbid", user=user, at=NOON + timedelta(seconds=after))
    uses, ended = used(refused), ends_of(used(gone))
    assert list(ended) == [user]
    assert len(ungranted({LIST}, uses, ended=ended)) == said
    assert ungranted({PATCH}, uses, ended=ended) == [f"{user}: list pods team is not granted"]


def test_what_was_used_is_granted() -> None:
    uses = used(event(), event("delete", name="chat-0"), event("delete", name="chat-0"))
    assert ungranted({LIST}, uses) == ["op: delete pods team/chat-0 is not granted"]
    assert ungranted({LIST, Right("", "pods", "delete")}, uses) == []


def read(second: float, name: str = "token", user: str = "op") -> Any:
    return event("get", at=NOON + timedelta(seconds=second), resource="secrets", name=name, user=user)


def test_reads_of_one_object_within_any_minute_are_bounded() -> None:
    calm = [read(2.0 * number) for number in range(600)]
    assert floods(used(*calm), most=31) == []
    busy = [*calm, *(read(605 + number / 10) for number in range(12))]
    (found,) = floods(used(*busy), most=31)
    assert found.startswith("op read secrets team/token ")
    assert found.endswith(" times in a minute; at most 31 are allowed")


def test_reads_of_several_objects_and_accounts_are_counted_apart() -> None:
    many = [read(1, name=f"token-{number}", user=user) for number in range(40) for user in ("a", "b")]
    assert floods(used(*many), most=1) == []
    assert floods(used(*(event("list") for _ in range(100))), most=1) == []


@given(st.lists(st.integers(min_value=0, max_value=200), max_size=60), st.integers(min_value=1, max_value=10))
def test_a_flood_is_more_than_the_bound_in_some_window(seconds: list[int], most: int) -> None:
    expected = any(sum(start <= one <= start + 60 for one in seconds) > most for start in seconds)
    assert bool(floods(used(*map(read, seconds)), most=most)) == expected


def test_every_reason_says_something() -> None:
    for reasons in (OPERATOR, GATEWAY, RESOLVER):
        assert all(len(why) > 20 for why in reasons.values())
