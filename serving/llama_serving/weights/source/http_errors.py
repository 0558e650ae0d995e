"""The failure that a source's HTTP answer means, with a message that says what to do.

401, 403                    Denied
404, 410 and other 4xx      Gone
408, 425                    Broken
429, 503                    Busy, after what Retry-After says (seconds, or a date)
other 5xx                   Broken

Busy and Broken are retried, as ``config.http_status`` says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

from llama_serving.config.http_status import is_retried_at_source
from llama_serving.weights.source.interface import Broken, Busy, Denied, Gone, SourceError

_SHOWN: Final = 200
#: The word of the Hub and others for a Retry-After: no request left (r), seconds until there are (t).
_RATE_LIMIT: Final = re.compile(r"\br=0;.{0,100}?\bt=(\d{1,4})\b")
_LONGEST_WAIT: Final = 3600.0  # seconds; a source that asks for more is asked again after this


@dataclass(frozen=True)
class Remedies:
    """What to do, as the end of a sentence; it differs by scheme."""

    denied: str
    gone: str


def failure(
    status: int, headers: Mapping[str, str], *, asked: str, said: str, fix: Remedies, now: datetime
) -> SourceError:
    """Return the failure that an answer means; ``asked`` names the request, ``said`` is the answer's own text."""
    said = printable(headers.get("X-Error-Message", said))
    answered = f"{asked} was answered {status}{f' ({said})' if said else ''}"
    match status:
        case 401 | 403:
            return Denied(f"{answered}: {fix.denied}")
        case 429 | 503:
            return _busy(answered, headers, now=now)
        case _ if 400 <= status < 500 and not is_retried_at_source(status):
            return Gone(f"{answered}: {fix.gone}")
        case _:
            return Broken(answered)


def printable(text: str) -> str:
    """Return the beginning of what a server says: one line, without control characters."""
    line = " ".join(text[: 4 * _SHOWN].split())[:_SHOWN]
    return "".join(char if char.isprintable() else "?" for char in line)


def _busy(answered: str, headers: Mapping[str, str], *, now: datetime) -> Busy:
    after = retry_after(headers.get("Retry-After"), now=now)
    limit = _RATE_LIMIT.search(headers.get("RateLimit", "")[:1000])
    if after is None and limit:
        return Busy(f"{answered}, has no request left for {limit[1]} s", after=float(limit[1]))
    waits = "" if after is None else f", asked to wait {after:g} s"
    return Busy(f"{answered}{waits}", after=after)


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3: seconds or a date); None: nothing usable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        return None
    return min(max(0.0, (date - now).total_seconds()), _LONGEST_WAIT)
