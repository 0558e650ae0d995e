"""What was decoded is remembered by its version, up to a number of bytes: the oldest of all is forgotten first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Decoded = TypeVar("Decoded")


class ByteCache(Generic[Decoded]):
    """Values by their keys. ``limit`` bounds the sum of what they are said to weigh, in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.weight = 0
        self.decoded = 0  # times that a value had to be made
        self._held: OrderedDict[Hashable, tuple[Decoded, int]] = OrderedDict()

    def get(self, key: Hashable, decode: Callable[[], tuple[Decoded, int]]) -> Decoded:
        """Return the value of this key; ``decode`` makes it, and says what it weighs, where it is not known."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key][0]
        self.decoded += 1
        value, weight = decode()
        if weight <= self.limit:
            self._held[key] = value, weight
            self.weight += weight
        while self.weight > self.limit:
            _, (_, gone) = self._held.popitem(last=False)
            self.weight -= gone
        return value

    def __len__(self) -> int:
        return len(self._held)
