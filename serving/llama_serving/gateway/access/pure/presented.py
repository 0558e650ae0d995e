"""What a request says about who sends it: its key, or without keys its address or a header."""

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from typing import Final

#: Characters of a key that are looked at; longer ones are no keys.
LONGEST_KEY: Final = 512
LONGEST_CLIENT: Final = 64
_BEARER: Final = "bearer "
_PLAIN: Final = re.compile(r"[A-Za-z0-9._:@/+=-]+")
#: Headers of clients of Azure's API and of Anthropic's; with Authorization, those that never go to an engine.
KEY_HEADERS: Final = ("api-key", "x-api-key")


def presented_key(headers: Mapping[str, str]) -> bytes | None:
    """Return the key that a request carries; None where it carries none."""
    given = headers.get("authorization")
    if given is not None and given[: len(_BEARER)].lower() == _BEARER:
        key = given[len(_BEARER) :].strip()
    else:
        key = (headers.get(KEY_HEADERS[0]) or headers.get(KEY_HEADERS[1]) or "").strip()
    if not key:
        return None
    return key[: LONGEST_KEY + 1].encode("utf-8", "surrogateescape")


def digest_of(key: bytes) -> bytes:
    """Return the SHA-256 of a key: 32 bytes."""
    return hashlib.sha256(key).digest()


def client_of_header(value: str, *, header: str) -> str:
    """Return the name of a client by a header that a trusted proxy sets; empty: it says nothing.

    Of ``X-Forwarded-For`` the last address counts, the only one that the nearest proxy wrote itself: whatever stands
    before it, a client can make up.
    """
    if header.lower() in ("x-forwarded-for", "forwarded"):
        value = value.rpartition(",")[2].strip()
    value = value.strip()
    if header.lower() == "x-forwarded-for":
        return client_of_address(value) if value else ""
    return _short(value)


def client_of_address(address: str) -> str:
    """Return the name of a client by its address: of IPv6 its /64, because one host has all of it."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return _short(address)
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)


def _short(value: str) -> str:
    """Return the value as it may stand in a log and a label: itself where it is short and plain, else its hash."""
    if not value or (len(value) <= LONGEST_CLIENT and _PLAIN.fullmatch(value)):
        return value
    return "sha256:" + hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:32]
