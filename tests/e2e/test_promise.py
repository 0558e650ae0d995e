"""A deployment whose windows nobody has set looks at its own record: the share in time is in the status."""

import asyncio

from tests.e2e.support.bed import Bed, Object, manifest
from tests.e2e.support.load import Load
from tests.soak import soak

NAME = "learns"


@soak
async def test_the_share_in_time_is_in_the_status(bed: Bed) -> None:
    """The shares are written every five minutes; all requests find a slot, so all are in time."""

    def told(found: Object) -> bool:
        promise = found["status"].get("autoscaling", {}).get("promise") or {}
        return promise.get("shareOfHour") is not None

    bed.kubectl.apply(manifest(NAME, replicas=1, autoscaling={"minReplicas": 1, "maxReplicas": 2}))
    try:
        bed.wait_serving(NAME, 1)
        async with Load(bed.service_url(NAME), NAME, clients=2) as load:
            found = await asyncio.to_thread(bed.wait_for, NAME, told, within=500, what="judged")
            await load.finished(5, within=60)
        promise = found["status"]["autoscaling"]["promise"]
        assert promise["shareOfHour"] == promise["shareOfDay"] == 1.0, promise
        assert all(answer.whole for answer in load.answers)
        assert found["status"]["autoscaling"]["target"] == 1
    finally:
        bed.kubectl("delete", "llamadeployment", NAME, "--wait=true", "--timeout=120s")
