"""Where a redirect may lead, and whether credentials go along.

A server names the address, so it is believed only so far: from https to https (or from http to either), a few times,
and credentials go to the origin that they were given for, and nowhere else. An address that is signed in itself needs
none.
"""

from typing import Final

from yarl import URL

from llama_serving.weights.source.interface import Gone

MOST_REDIRECTS: Final = 5
STATUSES: Final = frozenset({301, 302, 303, 307, 308})
_SCHEMES: Final = ("http", "https")
_LONGEST: Final = 16 << 10  # characters of an address; a signed one has one or two thousand


def next_address(url: URL, location: str) -> URL:
    """Return where an answer of ``url`` redirects to. Raises Gone where that is not followed."""
    if not location or len(location) > _LONGEST:
        raise Gone(f"GET {origin(url)} redirects to an address of {len(location)} characters")
    try:
        target = url.join(URL(location))
    except ValueError as error:
        raise Gone(f"GET {origin(url)} redirects to what is no address") from error
    if target.scheme not in _SCHEMES or not target.host:
        raise Gone(f"GET {origin(url)} redirects to {target.scheme or 'no'} in place of https, which is not followed")
    if url.scheme == "https" and target.scheme == "http":
        raise Gone(f"GET {origin(url)} redirects from https to http at {origin(target)}, which is not followed")
    return target


def origin(url: URL) -> str:
    """Return scheme, host and port of an address: what credentials are bound to."""
    return f"{url.scheme}://{url.host}:{url.port}"
