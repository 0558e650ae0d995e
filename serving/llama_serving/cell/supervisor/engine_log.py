"""Why the engine core did not start, in its own words.

Serve's message only says that the engine core failed, "see root cause above": the cause is in the log of the replica's
process, which the engine core shares.
"""

from pathlib import Path
from typing import Final

from llama_serving.cell.shared.engine_errors import last_error

_LOGS: Final = "session_latest/logs"
_PATTERN: Final = "worker-*.out"  # where vLLM logs to
_CORE: Final = "EngineCore"
_TAIL: Final = 200_000  # bytes


class EngineLog:
    """The logs below one Ray folder."""

    def __init__(self, ray_folder: Path) -> None:
        self._logs = ray_folder / _LOGS

    def root_cause(self) -> str:
        """Return the last error of the newest log that has lines of an engine core; empty where there is none."""
        newest_first = sorted(self._logs.glob(_PATTERN), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in newest_first:
            lines = [line for line in _tail(path).splitlines() if _CORE in line]
            if cause := last_error("\n".join(lines)):
                return cause
        return ""


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return file.read().decode("utf-8", errors="replace")
