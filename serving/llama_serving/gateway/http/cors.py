"""CORS: which web pages may call the API from a browser. Decided here alone, whatever the engine answers.

    an origin that is listed, or below a listed ``https://*.example.com``   it is named, with credentials
    any other, where ``*`` is listed                                        ``*``, which excludes credentials
    any other                                                               nothing, so the browser withholds the answer

The rules are those of https://fetch.spec.whatwg.org/#http-cors-protocol. ``Vary: Origin`` keeps a cache from giving one
page the answer to another.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from multidict import CIMultiDict

#: Answer headers that pages may read beside those that every page may.
EXPOSED: Final = "retry-after, x-llama-group, x-llama-weights, x-request-id"
METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
#: Seconds that a browser may remember a preflight; Chromium remembers none longer.
MAX_AGE: Final = 7200

_ALWAYS_ALLOWED: Final = ("authorization", "content-type", "x-request-id")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_SUBDOMAINS: Final = "[a-z0-9_-]+(?:[.][a-z0-9_-]+)*[.]"
_PREFIX: Final = "access-control-"


class CorsPolicy:
    """The listed origins: ``scheme://host[:port]``, the same with ``*.`` before its host, or ``*``.

    ``only`` is the one that is listed, if there is but one: who can read an answer whose request has no legible origin.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        listed = [_without_default_port(origin) for origin in origins]
        self.is_on = bool(listed)
        self._any = "*" in listed
        self._named = frozenset(origin for origin in listed if "*" not in origin)
        self.only = listed[0] if len(listed) == 1 and self._named else None
        self._patterns = [_pattern(origin) for origin in listed if "*." in origin]

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return the headers of any answer to a request from this origin; empty where no origin is listed."""
        if not self.is_on:
            return {}
        found = {"vary": "Origin"}
        if origin is not None and self._names(origin):
            found |= {"access-control-allow-origin": origin, "access-control-allow-credentials": "true"}
        elif self._any:
            found["access-control-allow-origin"] = "*"
        else:
            return found
        return found | {"access-control-expose-headers": EXPOSED}

    def preflight(self, headers: Mapping[str, str]) -> dict[str, str] | None:
        """Return the headers of the answer to a preflight with these headers; None when its origin is not allowed."""
        found = self.headers(headers.get("origin"))
        if "access-control-allow-origin" not in found:
            return None
        requested = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
        allowed = dict.fromkeys((*_ALWAYS_ALLOWED, *filter(_TOKEN.fullmatch, requested)))
        del found["access-control-expose-headers"]
        return found | {
            "access-control-allow-methods": METHODS,
            "access-control-allow-headers": ", ".join(allowed),
            "access-control-max-age": str(MAX_AGE),
            "vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        }

    def _names(self, origin: str) -> bool:
        origin = origin.lower()
        return origin in self._named or any(pattern.fullmatch(origin) for pattern in self._patterns)


def is_cors_header(name: str) -> bool:
    """Return whether a header of an answer belongs to CORS; ``name`` in lower case."""
    return name.startswith(_PREFIX)


def add_cors(headers: CIMultiDict[str], cors: Mapping[str, str]) -> None:
    """Add the headers of ``CorsPolicy.headers`` to an answer's, whose own Vary stays."""
    for name, value in cors.items():
        if name == "vary" and name in headers:
            value = ", ".join((*headers.getall(name), value))
        headers[name] = value


def _without_default_port(origin: str) -> str:
    """Browsers leave it out of what they send."""
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], ""))


def _pattern(origin: str) -> re.Pattern[str]:
    scheme, _, domain = origin.partition("*.")
    return re.compile(re.escape(scheme) + _SUBDOMAINS + re.escape(domain))
