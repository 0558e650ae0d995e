"""Why the number of groups is what it is, as a machine word."""

from enum import StrEnum


class ScaleReason(StrEnum):
    """Why the target is what it is. API: users alert on them, so they are never renamed."""

    FIRST_REQUEST = "FirstRequest"  # the target was zero, and a request waits
    REQUESTS_WAIT = "RequestsWait"  # the queue takes too long for the groups that are there or starting
    FORECAST = "Forecast"  # the load takes more groups, now or by the time that they have started
    AT_MINIMUM = "AtMinimum"  # the load takes fewer groups than the limits or a schedule ask for
    AT_MAXIMUM = "AtMaximum"  # the load takes more groups than the limits allow
    NO_ROOM = "NoRoom"  # a group waits for capacity, so no further one is created
    WARMING_UP = "WarmingUp"  # groups are starting
    HOLDS_LOAD = "HoldsLoad"  # the groups that serve are enough
    LESS_LOAD = "LessLoad"  # one group fewer is enough
    COOLDOWN = "Cooldown"  # scale-down is possible, and the last change was not long ago
    MEASURING = "Measuring"  # scale-down may be possible; the load was not seen for long enough, as after a restart
    IDLE = "Idle"  # no request for long: the last group is removed, or was
    UNKNOWN = "Unknown"  # a gateway does not answer, so nothing is scaled down
    ROLLING_OUT = "RollingOut"  # scale-down is possible, and nothing is scaled down in a rollout
