"""When nothing changes the operator writes nothing."""

from datetime import UTC, datetime, timedelta

from examples.cluster import RELEASE
from tests.e2e.bed import Bed
from tests.e2e.test_2_faults import until

IDLE = timedelta(minutes=5)
SETTLED = timedelta(seconds=15)
"""After the end of a rollout: its last figures are written."""
WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def unchanged_since(bed: Bed, name: str) -> datetime:
    """The end of the last rollout: since then other deployments were busy, this one was left alone."""
    rollout = bed.deployment(name)["status"].get("rollout")
    return datetime.fromisoformat(rollout["ended"]) if rollout else datetime.now(UTC)


def test_five_minutes_without_a_change_are_without_a_write(bed: Bed, pair: str):
    bed.wait_serving(pair, 2)
    since = unchanged_since(bed, pair) + SETTLED
    within = max((since + IDLE - datetime.now(UTC)).total_seconds(), 0) + 60
    until("five minutes have passed", lambda: "" if datetime.now(UTC) >= since + IDLE else "not yet", within)
    user = f"system:serviceaccount:{bed.kubectl.namespace}:{RELEASE}"
    events = [e for e in bed.audit(since.strftime("%Y-%m-%dT%H:%M:%SZ")) if e["user"].get("username") == user]
    assert events, "the operator was not even seen: the audit log is not the right one"
    writes = [(e["verb"], e["requestURI"]) for e in events if e["verb"] in WRITES and f"/{pair}" in e["requestURI"]]
    assert writes == [], f"{len(writes)} writes on objects of {pair}"
    told = bed.kubectl.json("get", "events", "--field-selector", f"involvedObject.name={pair}")["items"]
    late = [event["message"] for event in told if datetime.fromisoformat(event["lastTimestamp"]) > since]
    assert late == [], "events are writes too"
