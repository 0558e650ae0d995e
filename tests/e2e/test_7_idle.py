"""When nothing changes the operator writes nothing."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from examples.cluster import RELEASE
from testbed.audit import WRITES, received
from tests.e2e.bed import NAMESPACE, Bed, Object
from tests.e2e.test_2_faults import until

IDLE = timedelta(minutes=5)
SETTLED = timedelta(seconds=15)
"""After the end of a rollout: its last figures are written."""
FOLLOWS = timedelta(seconds=5)
OPERATOR = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"


def unchanged_since(bed: Bed, name: str) -> datetime:
    """The end of the last rollout: since then other deployments were busy, this one was left alone."""
    rollout = bed.deployment(name)["status"].get("rollout")
    return datetime.fromisoformat(rollout["ended"]) if rollout else datetime.now(UTC)


def test_five_minutes_without_a_change_are_without_a_write(bed: Bed, pair: str):
    bed.wait_serving(pair, 2)
    since = unchanged_since(bed, pair) + SETTLED
    within = max((since + IDLE - datetime.now(UTC)).total_seconds(), 0) + 60
    until("five minutes have passed", lambda: "" if datetime.now(UTC) >= since + IDLE else "not yet", within)
    events = list(bed.audit(since))
    assert any(name_of(event) == OPERATOR for event in events), "the operator was not seen: is this the audit log?"
    assert unprovoked(events, pair) == [], f"writes on objects of {pair} that nothing gave a cause for"


def unprovoked(events: Iterable[Object], name: str) -> list[str]:
    """The operator's writes, events included, that do not follow a write of somebody else on the same deployment.

    On a busy machine a gateway may miss a probe: that its status then says so is no idle write.
    """
    writes = [event for event in events if event["verb"] in WRITES and f"/{name}" in event["requestURI"]]
    causes = [received(event) for event in writes if name_of(event) != OPERATOR]
    return [
        f"{event['requestReceivedTimestamp']} {event['verb']} {event['requestURI']}"
        for event in writes
        if name_of(event) == OPERATOR and not any(timedelta(0) <= received(event) - cause < FOLLOWS for cause in causes)
    ]


def name_of(event: Object) -> str:
    """Who it was; anonymous probes of the API server have no name."""
    return str(event["user"].get("username", ""))
