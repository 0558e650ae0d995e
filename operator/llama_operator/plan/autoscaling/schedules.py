"""Which schedule is in force at a moment: hours of a day in a time zone, with its summer time.

A schedule begins at ``from`` on each of its days and ends at ``to``, on the next day where ``to`` is not later. Both
are times of the wall clock: where the clock is put forward over one of them it counts as the moment of the change
(02:30 that does not exist is 03:30 of summer time); where an hour comes twice, it begins with the first and ends with
the second one, so nobody finds fewer groups than asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from llama_operator.api.v1alpha1.autoscaling import DAYS, ScheduleSpec
from llama_operator.plan.sentences import deployment as sentences


@dataclass(frozen=True)
class ScheduledMinimum:
    """Fewest groups now, by which schedule, and which schedules could not be read."""

    groups: int
    schedule: str = ""  # empty: minReplicas
    problems: tuple[str, ...] = ()  # sentences


def minimum_at(schedules: Iterable[ScheduleSpec], least: int, now: datetime) -> ScheduledMinimum:
    """Return the largest of ``least`` and of what the schedules that are in force now ask for."""
    found, problems = ScheduledMinimum(least), []
    for schedule in schedules:
        zone = _zone(schedule.time_zone)
        if zone is None:
            problems.append(sentences.time_zone_unknown(schedule.time_zone, schedule=schedule.name))
        elif schedule.min_replicas > found.groups and is_in_force(schedule, zone, now):
            found = ScheduledMinimum(schedule.min_replicas, schedule.name)
    return ScheduledMinimum(found.groups, found.schedule, tuple(problems))


def is_in_force(schedule: ScheduleSpec, zone: ZoneInfo, now: datetime) -> bool:
    """Tell whether ``now`` lies in its hours: of today, or of those that began yesterday and pass midnight."""
    local = now.astimezone(zone)
    days = (local.date(), (local - timedelta(days=1)).date())
    return any(_covers(schedule, zone, day=day, now=now) for day in days)


def _covers(schedule: ScheduleSpec, zone: ZoneInfo, *, day: date, now: datetime) -> bool:
    """Tell whether ``now`` lies in the hours that begin on this day."""
    if DAYS[day.weekday()] not in schedule.days:
        return False
    begin, end = time.fromisoformat(schedule.begin), time.fromisoformat(schedule.end)
    until = day if end > begin else day + timedelta(days=1)
    starts = datetime.combine(day, begin, zone)  # of an hour that comes twice the first
    ends = datetime.combine(until, end, zone).replace(fold=1)  # and the second
    # Compared in UTC: datetimes of one zone compare by their wall clock, whatever the offset.
    return starts.astimezone(UTC) <= now.astimezone(UTC) < ends.astimezone(UTC)


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
