"""The pause between tries of something that fails: operator, gateway, resolver and stager use one rule."""


def doubling_pause(attempt: int, *, first: float, longest: float) -> float:
    """Pause before the next try: ``first`` seconds, doubled with each further attempt, at most ``longest``."""
    return min(first * 2.0 ** min(attempt - 1, 64), longest)
