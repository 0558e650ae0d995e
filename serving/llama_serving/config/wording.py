"""Parts of the sentences that users read. A sentence is a clause with numbers: lower case, no full stop, no "(s)"."""

from typing import Final

_NAMES: Final = {1: "B", 10**3: "kB", 10**6: "MB", 10**9: "GB", 10**12: "TB"}


def plural(number: int, noun: str, nouns: str = "") -> str:
    """Return ``1 group``, ``2 groups``; ``nouns`` where the plural is not the noun and an s."""
    return f"{number} {noun if number == 1 else nouns or f'{noun}s'}"


def rough_seconds(seconds: float) -> str:
    """Return ``40 s``, ``4 min``: steps of 10 s in the first two minutes, then of a minute.

    A long wait must not rewrite the status at every pass, whose own event would wake the loop for the next.
    """
    if seconds < 120:
        return f"{max(int(seconds) // 10 * 10, 0)} s"
    return f"{int(seconds) // 60} min"


def clause(text: str, limit: int = 2000) -> str:
    """Return what others wrote (scheduler, kubelet, a library) on one line, without its full stop.

    Of a text longer than ``limit`` characters the end is kept, where the cause stands.
    """
    line = " ".join(text.split())
    kept = line if len(line) <= limit else f"... {line[-limit:].partition(' ')[2]}"
    return kept.rstrip(" .")


def bytes_text(n: float) -> str:
    """Return ``n`` bytes in the unit that fits: ``3.4 GB``."""
    unit = bytes_unit(n)
    return f"{in_unit(n, unit)} {unit_name(unit)}"


def bytes_unit(n: float) -> int:
    """Return the largest unit (1, 1e3 ... 1e12 bytes) that is not larger than ``n`` bytes."""
    return max(unit for unit in _NAMES if unit <= max(n, 1))


def in_unit(n: float, unit: int) -> str:
    """Return ``n`` bytes as a number of ``unit``: one digit after the point below 100, none from there on."""
    value = n / unit
    return f"{value:.0f}" if unit == 1 or value >= 100 else f"{value:.1f}"


def unit_name(unit: int) -> str:
    """Return the name of a unit of ``bytes_unit``."""
    return _NAMES[unit]
