"""What discovery says of one group."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The leader of a group, and where its engine answers.

    ``key`` is what makes two leaders different: a pod that was created again has the same name and another key.
    ``moving``: streams that still run there are to go on elsewhere, if a group with the same weights can take them.
    """

    key: str
    name: str
    ordinal: int
    weights: str
    host: str
    port: int
    ready: bool
    moving: bool = False
