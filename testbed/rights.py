"""What an account may do (RBAC) beside what it did (audit log): granted is used, used is granted, nothing is hammered.

A right is a group, a resource and a verb: names of objects and namespaces narrow it in the rules, and are left to the
API server to judge. A refused request is a use that was not granted, whatever the rules say now.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from testbed.audit import Event, received

Object = Mapping[str, Any]

#: GETs of one object by one account within a minute. A process that stands by reads the lease 12 times.
MOST_READS: Final = 30
MINUTE: Final = timedelta(minutes=1)
_WILDCARD: Final = "*"


@dataclass(frozen=True, order=True)
class Right:
    """What a rule gives. ``resource`` has its subresource behind a slash."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


@dataclass(frozen=True)
class Use:
    """One request for an object or a list of them."""

    user: str
    right: Right
    namespace: str
    name: str  # empty for a list
    at: datetime
    allowed: bool

    def __str__(self) -> str:
        where = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.user}: {self.right} {where}".rstrip()


_UNBIND: Final = Right("rbac.authorization.k8s.io", "rolebindings", "delete")


def rights_of(rules: Iterable[Object]) -> frozenset[Right]:
    """Return what rules of a Role or a ClusterRole give. Raises ValueError for a wildcard, which says nothing."""
    found = set()
    for rule in rules:
        for group in rule.get("apiGroups", ()):
            for resource in rule.get("resources", ()):
                for verb in rule.get("verbs", ()):
                    if _WILDCARD in (group, resource, verb):
                        raise ValueError(f"the rule {dict(rule)} grants everything: name groups, resources and verbs")
                    found.add(Right(group, resource, verb))
    return frozenset(found)


def granted_to(account: str, *, bindings: Iterable[Object], roles: Iterable[Object]) -> frozenset[Right]:
    """Return what a service account (``namespace/name``) has through bindings, of both kinds, among these roles."""
    rules = {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in roles}
    found: frozenset[Right] = frozenset()
    for binding in bindings:
        subjects = (f"{one.get('namespace', '')}/{one['name']}" for one in binding.get("subjects") or ())
        if account in subjects:
            ref = binding["roleRef"]
            place = "" if ref["kind"] == "ClusterRole" else binding["metadata"].get("namespace", "")
            role = rules.get((ref["kind"], place, ref["name"]))
            found |= rights_of(role["rules"] if role else ())
    return found


def uses_of(event: Event) -> tuple[Use, ...]:
    """Return what an audit event shows: nothing where it is about no object of the API, such as a health check.

    A server-side apply is a patch. One that made the object (201) needed the right to create it as well.
    """
    about = event.get("objectRef")
    if not about or not about.get("resource"):
        return ()
    resource = "/".join(part for part in (about["resource"], about.get("subresource", "")) if part)
    use = Use(
        user=event["user"].get("username", ""),
        right=Right(about.get("apiGroup", ""), resource, event["verb"]),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        at=received(event),
        allowed=event.get("annotations", {}).get("authorization.k8s.io/decision") != "forbid",
    )
    made = use.right.verb == "patch" and (event.get("responseStatus") or {}).get("code") == 201
    return (use, replace(use, right=replace(use.right, verb="create"))) if made else (use,)


def unused(granted: Collection[Right], uses: Iterable[Use], *, reasons: Mapping[Right, str]) -> list[str]:
    """Return the rights that nobody used and no reason keeps, and the reasons that keep nothing."""
    seen = {use.right for use in uses if use.allowed}
    needless = [f"{right} is granted and was not used" for right in sorted(set(granted) - seen - set(reasons))]
    stale = [f"{right} has a reason and is not granted" for right in sorted(set(reasons) - set(granted))]
    return needless + stale


def ungranted(
    granted: Collection[Right], uses: Iterable[Use], *, ended: Mapping[str, Collection[datetime]] | None = None
) -> list[str]:
    """Return what was asked for without a right, each once.

    ``ended``: when bindings of an account were deleted; its process may outlive them by the time that it has to end.
    """
    ended = ended or {}
    found = [use for use in uses if use.right not in granted or not (use.allowed or _outlives(use, ended))]
    return sorted({f"{use} is not granted" for use in found})


def ends_of(uses: Iterable[Use]) -> Mapping[str, Collection[datetime]]:
    """Return when the RoleBinding that has the name of a service account was deleted, by the account's user name."""
    ends: dict[str, list[datetime]] = defaultdict(list)
    for use in uses:
        if use.allowed and use.right == _UNBIND:
            ends[f"system:serviceaccount:{use.namespace}:{use.name}"].append(use.at)
    return ends


def _outlives(use: Use, ended: Mapping[str, Collection[datetime]]) -> bool:
    return any(end <= use.at < end + MINUTE for end in ended.get(use.user, ()))


def floods(uses: Iterable[Use], *, most: int = MOST_READS) -> list[str]:
    """Return the objects that one account read more than ``most`` times within some minute, with the highest count."""
    reads: dict[tuple[str, str, str, str], list[datetime]] = defaultdict(list)
    for use in uses:
        if use.right.verb == "get" and use.name:
            reads[use.user, use.right.resource, use.namespace, use.name].append(use.at)
    counted = {what: _most_in_a_minute(sorted(times)) for what, times in reads.items()}
    return [
        f"{user} read {resource} {namespace}/{name} {count} times in a minute; at most {most} are allowed"
        for (user, resource, namespace, name), count in sorted(counted.items())
        if count > most
    ]


def _most_in_a_minute(times: list[datetime]) -> int:
    """Return the most of these, in order, that lie within one minute."""
    return max((end - bisect_left(times, time - MINUTE) + 1 for end, time in enumerate(times)), default=0)
