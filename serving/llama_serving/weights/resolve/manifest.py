"""The manifest of some weights: name, size and sha256 of each file, read or as the source lists them."""

import hashlib
from typing import Final, Literal

from llama_serving.common.concurrency import map_concurrently
from llama_serving.config.reasons import ReportReason
from llama_serving.config.weights import Manifest, ManifestFile
from llama_serving.weights.model.errors import RefusedError, shown
from llama_serving.weights.model.safetensors import Header, ModelHeaders
from llama_serving.weights.resolve.digests import FileDigests, digest_file
from llama_serving.weights.resolve.fetched_folder import FetchedFolder
from llama_serving.weights.resolve.progress import ReadProgress
from llama_serving.weights.source.interface import Source
from llama_serving.weights.source.retry import RetryPolicy, read_with_retries

Check = Literal["full", "listing"]
_FILES_AT_ONCE: Final = 4


def listed_manifest(folder: FetchedFolder, headers: ModelHeaders) -> Manifest:
    """Return the manifest with the sha256 that the source lists. Raises RefusedError where it lists none."""
    large = (_listed_file(folder, name) for name in sorted(headers.headers))
    return Manifest(files=(*_small_files(folder), *large))


async def read_manifest(
    source: Source, folder: FetchedFolder, headers: ModelHeaders, *, retry: RetryPolicy, progress: ReadProgress
) -> Manifest:
    """Read all weights once and return the manifest with the sha256 of each file and tensor.

    Raises:
        RefusedError: a file differs from what the source lists, or was changed meanwhile.
        SourceError: the source failed.
    """
    small = _small_files(folder)
    progress.expect(sum(folder.size(name) for name in headers.headers))

    async def digest(name: str) -> FileDigests:
        pieces = read_with_retries(source, name, begin=0, end=folder.size(name), retry=retry)
        found = await digest_file(progress.counted(pieces), headers.headers[name])
        _check_read(folder, name, found, header=headers.headers[name])
        return found

    names = sorted(headers.headers)
    read = dict(zip(names, await map_concurrently(digest, names, limit=_FILES_AT_ONCE), strict=True))
    large = (ManifestFile(path=name, size=folder.size(name), sha256=found.file) for name, found in read.items())
    return Manifest(
        files=(*small, *large),
        tensors={name: found.tensors for name, found in read.items()},
        headers={name: found.header for name, found in read.items()},
    )


def digest_differs(message: str) -> RefusedError:
    """Return the refusal of weights whose digest is another than expected."""
    return RefusedError(ReportReason.DIGEST_DIFFERS, message)


def _check_read(folder: FetchedFolder, name: str, found: FileDigests, *, header: Header) -> None:
    """Check that the header by which the tensors were found is still the file's."""
    if hashlib.sha256(folder.contents[name][: header.length]).hexdigest() != found.header:
        raise digest_differs(f"{shown(name)} was changed while it was read: its header is another than before")
    _check_listed(folder, name, found.file)


def _small_files(folder: FetchedFolder) -> list[ManifestFile]:
    return [_small_file(folder, name) for name in folder.small]


def _small_file(folder: FetchedFolder, name: str) -> ManifestFile:
    content = folder.contents[name]
    found = hashlib.sha256(content).hexdigest()
    _check_listed(folder, name, found)
    return ManifestFile(path=name, size=len(content), sha256=found)


def _listed_file(folder: FetchedFolder, name: str) -> ManifestFile:
    file = folder.listed[name]
    if not file.sha256:
        raise RefusedError(
            ReportReason.DIGEST_UNKNOWN,
            f"{shown(folder.location)} lists no sha256 of {shown(name)}: put a file SHA256SUMS beside it "
            "(sha256sum *), or set check to full",
        )
    return ManifestFile(path=name, size=file.size, sha256=file.sha256)


def _check_listed(folder: FetchedFolder, name: str, found: str) -> None:
    listed = folder.listed[name].sha256
    if listed not in ("", found):
        raise digest_differs(
            f"{shown(name)} has sha256 {found}, {shown(folder.location)} itself lists {listed}: the file is damaged "
            "or was exchanged; upload it again"
        )
