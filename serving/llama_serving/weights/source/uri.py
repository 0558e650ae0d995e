"""Source URIs: ``scheme://host/path``, with ``{revision}`` where the revision belongs to the place.

An ``hf://`` or ``oci://`` URI needs no placeholder: there the revision is a commit or tag of the repository.
"""

from dataclasses import dataclass
from typing import Final

PLACEHOLDER: Final = "{revision}"


@dataclass(frozen=True)
class Address:
    """The parts of a source's URI."""

    scheme: str  # lower case
    host: str  # claim, bucket, account, registry or host with port; the first part of an hf:// repository
    path: str  # without slashes around it

    @property
    def uri(self) -> str:
        """The URI in its plain form."""
        return f"{self.scheme}://{self.host}/{self.path}".rstrip("/")


def fill(uri: str, revision: str) -> str:
    """Return ``uri`` with its placeholder replaced. Raises ValueError when it has one and there is no revision."""
    if PLACEHOLDER in uri and not revision:
        raise ValueError(f"{uri} has {PLACEHOLDER} and model.revision is empty: name the revision")
    return uri.replace(PLACEHOLDER, revision)


def parse(uri: str) -> Address:
    """Return the parts of ``uri``. Raises ValueError when it is no URI with a host, or climbs with ``..``."""
    scheme, separator, rest = uri.partition("://")
    host, _, path = rest.partition("/")
    path = path.strip("/")
    if not separator or not scheme or not host:
        raise ValueError(f"{uri!r} is no source: it must be scheme://place/path, such as s3://models/llama-3.1-8b")
    if any(part in {".", ".."} for part in path.split("/")):
        raise ValueError(f"{uri!r} climbs with '..': name the folder itself")
    return Address(scheme.lower(), host, path)
