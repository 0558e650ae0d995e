"""The folder in which a stage's weights are written, until a rename makes them visible under their own name.

While ``stage-0-of-2`` is written, there are ``stage-0-of-2.part`` with the files and ``stage-0-of-2.journal``: a line
of JSON per tensor that was verified when it was written. After a restart nothing of it is trusted: what the
journal names is hashed again, from the disk. That costs a read of what is there, far less than another transfer, and
it also holds when the node lost power and the journal reached the disk before the tensors did.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from llama_serving.config.weights import Manifest
from llama_serving.weights.model.weight_files import INDEX
from llama_serving.weights.staging.decide.expected import RECORD, StagedRecord
from llama_serving.weights.staging.decide.ranges import WHOLE, FilePart
from llama_serving.weights.staging.decide.safetensors_layout import CompactLayout, compact_layout, index_json
from llama_serving.weights.staging.decide.stage_share import StageShare
from llama_serving.weights.staging.dependencies import StagePod
from llama_serving.weights.staging.io.disk import Disk

_PIECE: Final = 4 << 20


@dataclass(frozen=True)
class JournalEntry:
    """A tensor of a file that was verified once, or a small file (tensor WHOLE)."""

    file: str
    tensor: str
    sha256: str


@dataclass(frozen=True)
class _Location:
    """Where a part lies in its file here."""

    offset: int
    size: int
    sha256: str  # that the manifest wants; empty where it does not know


class PartialFolder:
    """The sink of one share. Methods block; ``write`` and ``finished`` may be called by several threads."""

    def __init__(self, target: Path, share: StageShare, *, disk: Disk) -> None:
        self._target = target
        self._part = target.with_name(f"{target.name}.part")
        self._journal = journal_path(target)
        self._share = share
        self._disk = disk
        self._files: dict[str, CompactLayout] = {
            file: compact_layout(tensors) for file, tensors in share.tensors.items()
        }
        self._locations = _locations(share, self._files)
        self._digests: dict[tuple[str, str], str] = {}
        self._descriptors: dict[str, int] = {}
        self._lock = Lock()

    @property
    def done(self) -> frozenset[tuple[str, str]]:
        """(file, tensor) of the parts that lie here and are verified."""
        return frozenset(self._digests)

    def journal_entries(self) -> tuple[JournalEntry, ...]:
        """Return what the journal names and this share wants, where the file has the right start and size."""
        usable = {file for file in {file for file, _ in self._locations} if self._is_begun(file)}
        return tuple(
            entry
            for entry in _read_journal(self._journal)
            if entry.file in usable and (entry.file, entry.tensor) in self._locations
        )

    def recover(self, entry: JournalEntry) -> int:
        """Hash a finished part on the disk; return its bytes when the digest is unchanged, else 0."""
        location = self._locations[entry.file, entry.tensor]
        with suppress(OSError):
            found = _sha256(self._part / entry.file, begin=location.offset, size=location.size)
            if found == entry.sha256 == (location.sha256 or found):
                self._digests[entry.file, entry.tensor] = found
                return location.size
        return 0

    def prepare(self) -> None:
        """Make the folder and the files that are not begun; remove other files."""
        self._disk.make_folder(self._part)
        wanted = {file for file, _ in self._locations} | self._files.keys()
        for path in self._part.iterdir():
            if path.name not in wanted:
                self._disk.remove(path)
        for file in sorted(wanted):
            if not self._is_begun(file):
                start, size = self._shape(file)
                self._disk.create(self._part / file, start=start, size=size)

    def write(self, file: str, part: FilePart, data: memoryview, *, offset: int) -> None:
        """Write to the part's location; drop what has none here (a header of the source)."""
        location = self._locations.get((file, part.tensor))
        if location is not None:
            self._disk.write(self._descriptor(file), data, offset=location.offset + offset)

    def finished(self, file: str, part: FilePart) -> None:
        """Add the part to the journal, so that a restart finds it."""
        if (file, part.tensor) in self._locations:
            line = json.dumps({"file": file, "tensor": part.tensor, "sha256": part.sha256})
            # The newline comes first: a line that a kill cut off must not spoil the next one.
            self._disk.append(self._journal, f"\n{line}".encode())
            self._digests[file, part.tensor] = part.sha256

    def complete(self, manifest: Manifest, *, pod: StagePod, with_index: bool = True) -> tuple[Path, ...]:
        """Write index and record; return all files, which must be synced before ``publish``."""
        record = StagedRecord(
            digest=manifest.digest,
            stage=pod.stage,
            stages=pod.stages,
            sizes={file: compact.size for file, compact in self._files.items()},
            tensors={
                file: {name: self._digests[file, name] for name in tensors}
                for file, tensors in self._share.tensors.items()
            },
        )
        if with_index:
            self._disk.put(self._part / INDEX, index_json(self._share.tensors))
        self._disk.put(self._part / RECORD, record.model_dump_json(indent=1).encode())
        return tuple(sorted(self._part.iterdir()))

    def publish(self) -> None:
        """Make the folder visible under its name."""
        self._disk.sync(self._part)
        self._disk.move(self._part, self._target)
        self._disk.sync(self._target.parent)
        self._disk.remove(self._journal)

    def close(self) -> None:
        """Close all descriptors; no thread may write any more."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _shape(self, file: str) -> tuple[bytes, int]:
        """Return the first bytes of a file, and its size."""
        compact = self._files.get(file)
        return (compact.header, compact.size) if compact else (b"", self._locations[file, WHOLE].size)

    def _is_begun(self, file: str) -> bool:
        start, size = self._shape(file)
        path = self._part / file
        try:
            with path.open("rb") as opened:
                return path.stat().st_size == size and opened.read(len(start)) == start
        except OSError:
            return False

    def _descriptor(self, file: str) -> int:
        with self._lock:
            if file not in self._descriptors:
                self._descriptors[file] = self._disk.open(self._part / file)
            return self._descriptors[file]


def journal_path(target: Path) -> Path:
    """Return the path of the journal of the folder that becomes ``target``."""
    return target.with_name(f"{target.name}.journal")


def _locations(share: StageShare, files: Mapping[str, CompactLayout]) -> dict[tuple[str, str], _Location]:
    small = {(file.path, WHOLE): _Location(0, file.size, file.sha256) for file in share.expected.small}
    tensors = {
        (file, part.tensor): _Location(compact.offsets[part.tensor], part.size, part.sha256)
        for file, compact in files.items()
        for part in share.parts(file)
    }
    return small | tensors


def _read_journal(path: Path) -> list[JournalEntry]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return []
    entries: dict[tuple[str, str], JournalEntry] = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            entry = JournalEntry(**json.loads(line))
            entries[entry.file, entry.tensor] = entry
    return list(entries.values())


def _sha256(path: Path, *, begin: int, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        file.seek(begin)
        while size > 0 and (piece := file.read(min(_PIECE, size))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()
