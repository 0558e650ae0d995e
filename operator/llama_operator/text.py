"""Figures as parts of a sentence."""


def short_bytes(number: int) -> str:
    """Return three digits and a decimal unit, such as ``269MB`` or ``16.1GB``."""
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g}{unit}"
