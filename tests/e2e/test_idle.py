"""When nothing changes the operator writes nothing."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from examples.cluster import RELEASE
from testbed.audit import WRITES, received
from tests.e2e.support.bed import NAMESPACE, Bed, Object
from tests.e2e.support.faults import until_time

IDLE = timedelta(minutes=5)
SETTLED = timedelta(seconds=15)
"""After a change: its last figures are written."""
QUIET_WITHIN_S = 900
OPERATOR = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"


def test_five_minutes_without_a_change_are_without_a_write(bed: Bed, pair: str) -> None:
    """Other deployments were busy meanwhile. On a busy machine a pod may miss a probe: that is a change, too."""
    found = bed.wait_serving(pair, 2)
    made = datetime.fromisoformat(found["metadata"]["creationTimestamp"])
    end = time.monotonic() + QUIET_WITHIN_S
    while (wanted := last_change(bed, pair, made) + SETTLED + IDLE) > datetime.now(UTC):
        assert time.monotonic() < end, f"somebody else changes {pair} again and again, last {wanted - SETTLED - IDLE}"
        until_time(wanted, IDLE.seconds + 60)
    events = list(bed.audit(wanted - IDLE))
    assert any(name_of(event) == OPERATOR for event in events), "the operator was not seen: is this the audit log?"
    assert [where(event) for event in writes(events, pair) if name_of(event) == OPERATOR] == []


def last_change(bed: Bed, name: str, since: datetime) -> datetime:
    """When somebody else than the operator last wrote on objects of a deployment; ``since`` when nobody has."""
    others = (event for event in writes(bed.audit(since), name) if name_of(event) != OPERATOR)
    return max((received(event) for event in others), default=since)


def writes(events: Iterable[Object], name: str) -> list[Object]:
    """Those on objects of a deployment, events about them included."""
    return [event for event in events if event["verb"] in WRITES and f"/{name}" in event["requestURI"]]


def where(event: Object) -> str:
    """For the eye."""
    return f"{event['requestReceivedTimestamp']} {event['verb']} {event['requestURI']}"


def name_of(event: Object) -> str:
    """Who it was; anonymous probes of the API server have no name."""
    return str(event["user"].get("username", ""))
