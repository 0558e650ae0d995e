"""Which weights lie behind a path, said by who verified them and checked by who reads them.

A supervisor seals a folder when its stager says that it is ready: ``LINKS/<16 hex digits>`` points at the folder, and
``LINKS/<16 hex digits>.json`` holds the whole digest and the size and time of every file. A rank that loads from such
a link compares the files before and after it reads them, and reports the seal's digest as what it loaded. So a folder
that was exchanged, written or removed after its verification is noticed, at the price of a few ``stat`` calls. The
bytes themselves are hashed once, by the stager.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from llama_serving.cell.shared.weights_ref import short_digest
from llama_serving.config.error_text import error_text

Files = dict[str, list[int]]


class BrokenSealError(Exception):
    """The folder is not what was verified; the text is one sentence."""


def seal(links: Path, *, digest: str, folder: Path) -> None:
    """Let the digest's link point at ``folder`` and note its files. Raises OSError when the folder cannot be listed."""
    links.mkdir(parents=True, exist_ok=True)
    note = {"digest": digest, "files": _files(folder)}
    replace_text(_note(links, digest), json.dumps(note))
    temporary = links / f".{short_digest(digest)}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder)
    temporary.replace(links / short_digest(digest))


def unseal(links: Path, *, digest: str) -> None:
    """Take link and note away: the weights are not ready any more."""
    for path in (links / short_digest(digest), _note(links, digest)):
        path.unlink(missing_ok=True)


def sealed_digest(path: Path) -> str:
    """Digest of the verified weights behind ``path``; empty for a folder that nobody sealed.

    Raises:
        BrokenSealError: a file was added, removed or written since.
    """
    note = _read(path.with_name(f"{path.name}.json"))
    if note is None:
        if path.is_symlink():
            raise BrokenSealError(f"{path} is a link without its note: the weights are not verified any more")
        return ""
    try:
        now = _files(path)
    except OSError as error:
        raise BrokenSealError(f"{path} cannot be listed: {error_text(error)}") from error
    changed = sorted(name for name in now.keys() | note["files"].keys() if now.get(name) != note["files"].get(name))
    if changed:
        raise BrokenSealError(f"{os.path.realpath(path)}/{changed[0]} was changed after it was verified")
    return str(note["digest"])


def replace_text(path: Path, text: str) -> None:
    """Write the whole file or nothing. It outlives the container; when the node dies, so does the pod's volume."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _note(links: Path, digest: str) -> Path:
    return links / f"{short_digest(digest)}.json"


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return None


def _files(folder: Path) -> Files:
    """Size and time of every file, by name."""
    found = {entry.name: entry.stat() for entry in os.scandir(folder) if entry.is_file()}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in sorted(found.items())}
