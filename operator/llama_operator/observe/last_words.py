"""The last words of a container: of its termination message, or of the end of its log, which stands in for it."""

import json

from llama_serving.config.logs.lines import TRACE


def last_words(text: str) -> str:
    """Return what the last line says: of a JSON line its message, of a line of a traceback what stands in it."""
    line = text.strip().rpartition("\n")[2].strip().removeprefix(TRACE.strip()).strip()
    if not line.startswith("{"):
        return line
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return line  # cut off: the kubelet keeps 2 KiB, or no line of ours
    said = found.get("message") if isinstance(found, dict) else None
    return said if isinstance(said, str) else line
