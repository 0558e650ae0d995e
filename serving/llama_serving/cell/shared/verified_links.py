"""Verified links: which weights lie behind a path, recorded by who verified them and checked by who reads them.

A supervisor links a folder when its stager says that it is ready: ``LINKS/<16 hex digits>`` points at the folder, and
``LINKS/<16 hex digits>.json`` records the whole digest and the size and time of every file. A rank that loads from such
a link compares the files before and after it reads them, and reports the recorded digest as what it loaded. So a folder
that was replaced, written or removed after its verification is noticed, at the price of a few ``stat`` calls. The
bytes themselves are hashed once, by the stager.
"""

import json
import os
from pathlib import Path
from typing import Any

from llama_serving.cell.shared.weights_ref import short_digest
from llama_serving.common.message_file import read_message, write_message
from llama_serving.config.error_text import error_text

Files = dict[str, list[int]]


class ChangedWeightsError(Exception):
    """The folder is not what was verified; the text is one sentence."""


def create_link(links: Path, *, digest: str, folder: Path) -> None:
    """Let the digest's link point at ``folder`` and record its files. Raises OSError when it cannot be listed."""
    links.mkdir(parents=True, exist_ok=True)
    write_message(_record_path(links, digest), json.dumps({"digest": digest, "files": _files(folder)}))
    temporary = links / f".{short_digest(digest)}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder)
    temporary.replace(links / short_digest(digest))


def remove_link(links: Path, *, digest: str) -> None:
    """Remove link and record: the weights are not ready any more."""
    for path in (links / short_digest(digest), _record_path(links, digest)):
        path.unlink(missing_ok=True)


def verified_digest(path: Path) -> str:
    """Return the digest of the verified weights behind ``path``; empty for a folder that nobody verified.

    Raises:
        ChangedWeightsError: a file was added, removed or written since.
    """
    record = _read_record(path.with_name(f"{path.name}.json"))
    if record is None:
        if path.is_symlink():
            raise ChangedWeightsError(f"{path} is a link without its record: the weights are not verified any more")
        return ""
    try:
        now = _files(path)
    except OSError as error:
        raise ChangedWeightsError(f"{path} cannot be listed: {error_text(error)}") from error
    before: Files = record["files"]
    changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    if changed:
        raise ChangedWeightsError(f"{os.path.realpath(path)}/{changed[0]} was changed after it was verified")
    return str(record["digest"])


def _record_path(links: Path, digest: str) -> Path:
    return links / f"{short_digest(digest)}.json"


def _read_record(path: Path) -> dict[str, Any] | None:
    text = read_message(path)
    return None if text is None else dict(json.loads(text))


def _files(folder: Path) -> Files:
    """Return size and time of every file, by name."""
    found = {entry.name: entry.stat() for entry in folder.iterdir() if entry.is_file()}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in sorted(found.items())}
