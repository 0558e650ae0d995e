"""Parts of the sentences that users read. A sentence is a clause with numbers: lower case, no full stop, no "(s)"."""


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
