"""What the API server saw of a whole run: rights that are granted are used, and none is used again and again.

It looks at the accounts of the operator, of the gateways and of the resolvers. Rights that a run need not use are in
tests/rights.py. It runs before the chart is uninstalled, since a process that outlives its Role is refused.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

import pytest

from examples.cluster import RELEASE
from testbed.rights import Right, Use, ends_of, floods, granted_to, rights_of, ungranted, unused, uses_of
from tests.e2e.support.bed import NAMESPACE, Bed, Object
from tests.rights import GATEWAY, OPERATOR, RESOLVER

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:"


@pytest.fixture(scope="module")
def all_uses(bed: Bed, began: datetime) -> list[Use]:
    """Every request since this run has begun."""
    return [use for event in bed.audit(began) for use in uses_of(event)]


@pytest.fixture(scope="module")
def uses(all_uses: list[Use]) -> list[Use]:
    """Every request of an account of the namespace."""
    return [use for use in all_uses if use.user.startswith(ACCOUNT)]


def of_component(bed: Bed, component: str) -> list[Object]:
    """Roles that the operator has made for one of its components."""
    roles: list[Object] = bed.kubectl.json("get", "roles", "-l", f"app.kubernetes.io/component={component}")["items"]
    return roles


def check(
    granted: frozenset[Right],
    uses: list[Use],
    reasons: Mapping[Right, str],
    *,
    whole_run: bool,
    ended: Mapping[str, Collection[datetime]] | None = None,
) -> None:
    """``whole_run``: nothing was left out, so that a right without a use is needless. ``ended``: as in ungranted."""
    assert granted
    assert ungranted(granted, uses, ended=ended) == []
    if whole_run:
        assert uses, "none of its requests is in the log: is this the audit log?"
        assert unused(granted, uses, reasons=reasons) == []


def test_the_operator_uses_what_it_is_granted(bed: Bed, uses: list[Use], whole_run: bool) -> None:
    bindings = (
        bed.kubectl.json("get", "rolebindings")["items"] + bed.kubectl.json("get", "clusterrolebindings")["items"]
    )
    roles = bed.kubectl.json("get", "roles")["items"] + bed.kubectl.json("get", "clusterroles")["items"]
    ours = [one for one in bindings if RELEASE in one["metadata"]["name"]]
    named = {one["roleRef"]["name"] for one in ours}
    roles = [one for one in roles if one["metadata"]["name"] in named]
    granted = granted_to(f"{NAMESPACE}/{RELEASE}", bindings=ours, roles=roles)
    check(granted, [use for use in uses if use.user == f"{ACCOUNT}{RELEASE}"], OPERATOR, whole_run=whole_run)


@pytest.mark.usefixtures("pair")
def test_gateways_use_what_they_are_granted(bed: Bed, uses: list[Use], *, all_uses: list[Use], whole_run: bool) -> None:
    granted = frozenset(right for role in of_component(bed, "gateway") for right in rights_of(role["rules"]))
    mine = [use for use in uses if use.user.endswith("-gateway")]
    # Of a deployment that is deleted the Role goes at once, and its gateway some seconds later.
    check(granted, mine, GATEWAY, whole_run=whole_run, ended=ends_of(all_uses))


def test_resolvers_did_only_what_they_are_for(uses: list[Use], whole_run: bool) -> None:
    """Their Roles are gone when they are done: each may fill one ConfigMap."""
    granted = frozenset({Right("", "configmaps", "patch")})
    mine = [use for use in uses if "-resolver" in use.user]
    check(granted, mine, RESOLVER, whole_run=whole_run)


def test_no_account_of_ours_reads_one_object_again_and_again(uses: list[Use]) -> None:
    assert floods(uses) == []
