"""Places that sources may be at, written as ``scheme://host``: the host as ``source.Address`` has it.

The host of ``hf`` is the owner, of ``s3`` and ``gs`` the bucket, of ``az`` the account, of ``oci`` the registry; with
``http``, ``https`` and ``oci`` a port counts as part of it. ``*`` as the host is any of the scheme, ``*.example.com``
any below example.com.
"""

from typing import Final

from llama_serving.config.source import Address

#: RE2 of one place; the chart's values and its admission policy say the same.
PLACE: Final = "[a-z0-9]+://([*]|([*][.])?[A-Za-z0-9][A-Za-z0-9._:-]*)"
#: Characters of a text with places that are read; an annotation may have 256 KiB.
LONGEST: Final = 4096


def split_places(text: str) -> tuple[str, ...]:
    """Return the places in a text, separated by commas or white space; one that is longer than LONGEST has none."""
    return tuple(text.replace(",", " ").split()) if len(text) <= LONGEST else ()


def is_place(address: Address, place: str) -> bool:
    """Return whether the source lies at the place. Case does not count in a scheme or a host."""
    scheme, _, host = place.lower().partition("://")
    if scheme != address.scheme or not host:
        return False
    name = address.host.lower()
    return host in ("*", name) or (host.startswith("*.") and name.endswith(host[1:]) and len(name) > len(host) - 1)
