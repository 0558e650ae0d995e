"""What discovery says of one group."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """The leader of a group, and where its engine answers.

    ``key`` is what makes two leaders different: a pod that was created again has the same name and another key.
    """

    key: str
    name: str
    ordinal: int
    weights: str
    host: str
    port: int
    ready: bool
