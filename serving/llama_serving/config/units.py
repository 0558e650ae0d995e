"""Numbers with their units, as messages show them."""

from typing import Final

_NAMES: Final = {1: "B", 10**3: "kB", 10**6: "MB", 10**9: "GB", 10**12: "TB"}


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
