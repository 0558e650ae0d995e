"""Names of files that somebody else chose: those that are one line of text, one part of a path, and fit any disk."""

import re
from typing import Final

_LONGEST: Final = 255  # bytes, as on every file system of Linux
#: Control characters, what parts lines, and halves of characters, which no UTF-8 has.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def has_controls(text: str) -> bool:
    """Return whether a text has a control character, a line's end, or half a character."""
    return _CONTROLS.search(text) is not None


def is_plain_name(name: str) -> bool:
    """Return whether ``name`` names a file directly in a folder, in one line."""
    if name in {"", ".", ".."} or "/" in name or has_controls(name):
        return False
    return len(name.encode()) <= _LONGEST
