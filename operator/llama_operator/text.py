"""Figures and foreign words as parts of a sentence."""


def count(number: int, noun: str) -> str:
    """Return ``1 group`` or ``2 groups``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def rough_seconds(seconds: float) -> str:
    """Return ``40 s`` or ``4 min``: steps of 10 s in the first two minutes, then of a minute.

    A long wait must not rewrite the status at every pass, whose own event would wake the loop for the next.
    """
    if seconds < 120:
        return f"{max(int(seconds) // 10 * 10, 0)} s"
    return f"{int(seconds) // 60} min"


def short_bytes(number: int) -> str:
    """Return three digits and a decimal unit, such as ``269MB`` or ``16.1GB``."""
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g}{unit}"


def quoted_tail(text: str, limit: int = 300) -> str:
    """Return the last ``limit`` characters of what somebody else said, on one line and without its full stop."""
    line = " ".join(text.split())
    cut = line if len(line) <= limit else f"... {line[-limit:].partition(' ')[2]}"
    return cut.rstrip(".")
