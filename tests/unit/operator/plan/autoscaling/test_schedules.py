"""Hours of schedules: past midnight, in summer time, and on the days on which the clock is changed."""

from datetime import UTC, datetime
from typing import Any

import pytest

from llama_operator.api import ScheduleSpec
from llama_operator.plan.autoscaling.schedules import ScheduledMinimum, minimum_at

WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri"]


def schedule(begin: str = "08:00", end: str = "20:00", zone: str = "Europe/Berlin", **fields: Any) -> ScheduleSpec:
    found = {"name": "day", "from": begin, "to": end, "timeZone": zone, "minReplicas": 3}
    return ScheduleSpec.model_validate(found | fields)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "moment", "holds"),
    [
        # in winter, one hour ahead of UTC; a Wednesday
        (schedule(), "2026-01-07T06:59:59", False),
        (schedule(), "2026-01-07T07:00:00", True),
        (schedule(), "2026-01-07T18:59:59", True),
        (schedule(), "2026-01-07T19:00:00", False),
        # in summer, two hours ahead of UTC
        (schedule(), "2026-07-08T05:59:59", False),
        (schedule(), "2026-07-08T06:00:00", True),
        (schedule(), "2026-07-08T18:00:00", False),
        # days: Saturday, and a Friday night that reaches into it
        (schedule(days=WEEKDAYS), "2026-01-10T12:00:00", False),
        (schedule("22:00", "06:00", days=WEEKDAYS), "2026-01-10T04:00:00", True),
        (schedule("22:00", "06:00", days=WEEKDAYS), "2026-01-10T05:00:00", False),
        (schedule("22:00", "06:00", days=WEEKDAYS), "2026-01-10T22:00:00", False),
        (schedule("22:00", "06:00", days=WEEKDAYS), "2026-01-12T03:00:00", False),
        (schedule("22:00", "06:00", days=WEEKDAYS), "2026-01-12T21:00:00", True),
        # to the same hour: a whole day
        (schedule("00:00", "00:00", days=["Sat"]), "2026-01-09T22:59:59", False),
        (schedule("00:00", "00:00", days=["Sat"]), "2026-01-09T23:00:00", True),
        (schedule("00:00", "00:00", days=["Sat"]), "2026-01-10T22:59:59", True),
        (schedule("00:00", "00:00", days=["Sat"]), "2026-01-10T23:00:00", False),
        # 2026-03-29: 02:00 becomes 03:00 (01:00 UTC); 02:30 does not exist and counts as 03:30
        (schedule("02:30", "04:00"), "2026-03-29T01:29:00", False),
        (schedule("02:30", "04:00"), "2026-03-29T01:30:00", True),
        (schedule("02:30", "04:00"), "2026-03-29T02:00:00", False),
        (schedule("01:00", "05:00"), "2026-03-29T00:00:00", True),
        (schedule("01:00", "05:00"), "2026-03-29T02:59:00", True),
        (schedule("01:00", "05:00"), "2026-03-29T03:00:00", False),
        # 2026-10-25: 03:00 becomes 02:00 (01:00 UTC); 02:30 comes twice, at 00:30 and at 01:30 UTC
        (schedule("02:30", "04:00"), "2026-10-25T00:29:00", False),
        (schedule("02:30", "04:00"), "2026-10-25T00:30:00", True),
        (schedule("01:00", "02:30"), "2026-10-25T01:29:00", True),
        (schedule("01:00", "02:30"), "2026-10-25T01:30:00", False),
        # half-hour zones, and the other side of the date line
        (schedule(zone="Asia/Kolkata"), "2026-01-07T02:30:00", True),
        (schedule(zone="Asia/Kolkata"), "2026-01-07T02:29:59", False),
        (schedule("08:00", "09:00", "Pacific/Auckland", days=["Thu"]), "2026-01-07T19:30:00", True),
        (schedule(zone="UTC"), "2026-01-07T07:30:00", False),
    ],
)
def test_hours(hours: ScheduleSpec, moment: str, holds: bool) -> None:
    assert minimum_at([hours], 1, at(moment)) == (ScheduledMinimum(3, "day") if holds else ScheduledMinimum(1))


def test_the_largest_holds_and_the_minimum_when_it_is_larger() -> None:
    both = [schedule(), schedule(name="noon", begin="11:00", end="13:00", minReplicas=7)]
    noon, evening = at("2026-01-07T11:00:00"), at("2026-01-07T18:00:00")
    assert (minimum_at(both, 1, noon), minimum_at(both, 1, evening)) == (
        ScheduledMinimum(7, "noon"),
        ScheduledMinimum(3, "day"),
    )
    assert minimum_at(both, 9, noon) == ScheduledMinimum(9)
    assert minimum_at([schedule(minReplicas=0)], 0, noon) == ScheduledMinimum(0)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "Europe", "A" * 64])
def test_a_zone_that_nobody_knows_is_named_and_the_others_hold(zone: str) -> None:
    found = minimum_at([schedule(zone=zone), schedule(name="day2")], 1, at("2026-01-07T12:00:00"))
    assert (found.groups, found.schedule) == (3, "day2")
    assert f"the time zone {zone} of day is not known" in found.problems[0]
    assert "Europe/Berlin" in found.problems[0]
