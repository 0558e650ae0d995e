"""Events as they are read: core/v1 shows those of both APIs, with their moments in different fields."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from llama_operator.ports import EVENTS, SeenEvent

_LONGEST = 4000  # characters of a message; the API server allows 1024, and older objects more


def seen_events(items: Iterable[Mapping[str, Any]]) -> tuple[SeenEvent, ...]:
    """Return the events of a list, the newest first, at most EVENTS of them."""
    found = (
        SeenEvent(str(item.get("reason") or ""), str(item.get("message") or "")[:_LONGEST], _last(item))
        for item in items
    )
    return tuple(sorted(found, key=lambda one: (one.at, one.message), reverse=True)[:EVENTS])


def _last(item: Mapping[str, Any]) -> datetime:
    """Return when it last happened: an event that repeats has a series, or a later time than its first."""
    series = item.get("series") or {}
    texts = (series.get("lastObservedTime"), *(item.get(name) for name in ("lastTimestamp", "eventTime")))
    made = (item.get("firstTimestamp"), (item.get("metadata") or {}).get("creationTimestamp"))
    moments = [_parsed(text) for text in texts if text] or [_parsed(text) for text in made if text]
    return max(moments, default=datetime.fromtimestamp(0, UTC))


def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
