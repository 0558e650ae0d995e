"""Sentences about LoRA adapters."""


def start_waits(ordinal: int, *, ready: int, of: int, name: str, doing: str) -> str:
    """Say why a group that works gets no request yet: it has not all of its adapters."""
    now = f": {doing}" if doing else " has not begun"
    return f"group {ordinal} has {ready} of its {of} adapters and gets no request before it has all; {name}{now}"
