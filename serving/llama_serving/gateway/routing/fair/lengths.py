"""Which client has the most requests waiting, in constant time per change."""

from llama_serving.gateway.routing.fair.flow import Flow


class Lengths:
    """Flows by how many of their requests wait; ``longest`` is the largest of these numbers."""

    def __init__(self) -> None:
        self.longest = 0
        self._by_length: dict[int, dict[Flow, None]] = {}
        self._lengths: dict[Flow, int] = {}

    def of(self, flow: Flow) -> int:
        """Return how many requests of a flow wait."""
        return self._lengths.get(flow, 0)

    def flow(self) -> Flow:
        """Return a flow with the most: the one that has had them longest. There must be one."""
        return next(iter(self._by_length[self.longest]))

    def add(self, flow: Flow) -> None:
        """Count one more."""
        length = self._move(flow, 1)
        self.longest = max(self.longest, length)

    def remove(self, flow: Flow) -> None:
        """Count one less."""
        length = self._move(flow, -1)
        if self.longest not in self._by_length:
            self.longest = length

    def _move(self, flow: Flow, by: int) -> int:
        before = self._lengths.get(flow, 0)
        if before:
            peers = self._by_length[before]
            del peers[flow]
            if not peers:
                del self._by_length[before]
        after = before + by
        if after:
            self._lengths[flow] = after
            self._by_length.setdefault(after, {})[flow] = None
        else:
            del self._lengths[flow]
        return after
