"""The API server's audit log: one JSON object per line, written before each answer."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

Event = dict[str, Any]

#: Verbs that change something.
WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def received(event: Event) -> datetime:
    """When the request came."""
    return datetime.fromisoformat(event["requestReceivedTimestamp"])


def events(log: Path, since: datetime) -> Iterator[Event]:
    """Events of requests that came from a moment on, in the order of the log."""
    for line in log.read_text().splitlines():
        event: Event = json.loads(line)
        if received(event) >= since:
            yield event
