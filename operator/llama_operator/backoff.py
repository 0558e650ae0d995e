"""Pauses between tries: each is twice as long as the one before, up to a limit."""


def doubling_pause(tries: int, *, first: float, longest: float) -> float:
    """Return the seconds after the ``tries``-th failed try: first, 2 first, 4 first ... at most ``longest``."""
    return float(min(first * 2.0 ** min(tries - 1, 16), longest))
