"""A source's credentials: a folder with one file per key of a Secret, as the kubelet mounts it.

Read anew at each use, because the kubelet replaces the files when the Secret changes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

AUTHORITY: Final = "ca.crt"  # PEM certificates that sign the source's certificate, for every scheme
_PLAIN_HTTP: Final = "plain-http"  # "true": the credentials may go over http, which others on the way can read


@dataclass(frozen=True)
class Credentials:
    """Credentials of one source; ``folder`` is None where it needs none."""

    folder: Path | None

    def get(self, key: str) -> str:
        """Return the value of a key without white space around it; empty when it is not there."""
        path = self.folder / key if self.folder else None
        return path.read_text(encoding="utf-8").strip() if path and path.is_file() else ""

    @property
    def plain_http(self) -> bool:
        """Whether the Secret allows its credentials to be sent without TLS."""
        return self.get(_PLAIN_HTTP) == "true"

    def starting(self, *prefixes: str) -> dict[str, str]:
        """Return all keys that begin with one of the prefixes, and their values."""
        if self.folder is None:
            return {}
        names = sorted(path.name for path in self.folder.iterdir())
        return {name: self.get(name) for name in names if name.startswith(prefixes)}
