"""What discovery says about one group."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The leader of a group, and the address of its engine.

    ``key`` identifies the leader: a pod that was created again has the same name and another key.
    ``moving``: running streams move to another group, if one with the same weights can take them.
    ``adapters``: LoRA adapters that it answers with, by their names in the API: the id of each.
    """

    key: str
    name: str
    ordinal: int
    weights: str
    host: str
    port: int
    ready: bool
    moving: bool = False
    adapters: Mapping[str, str] = field(default_factory=dict, hash=False)
