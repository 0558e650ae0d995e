"""Inspects weights at their source: which files there are, whether they may be served, and what their digests are.

    list -> small files and headers -> is it a Llama, whole, without code -> license -> digests -> manifest

``check="full"`` reads every byte once and takes the sha256 of each file and tensor; ``check="listing"`` trusts the
sha256 that the source lists and reads no weights. A refusal is a result. Busy and Broken are retried within the retry
policy; what fails longer is a refusal too.
"""

import asyncio
from dataclasses import dataclass

from llama_serving.config.reasons import ReportReason
from llama_serving.config.weights import Manifest
from llama_serving.weights.model.errors import RefusedError, shown
from llama_serving.weights.model.folder import open_folder
from llama_serving.weights.model.inspection import examine
from llama_serving.weights.resolve.fetched_folder import FetchedFolder, fetch
from llama_serving.weights.resolve.license import find_license, same_license
from llama_serving.weights.resolve.manifest import Check, digest_differs, listed_manifest, read_manifest
from llama_serving.weights.resolve.progress import ReadProgress
from llama_serving.weights.resolve.report import PartialResult, Resolution, accepted, refused, refused_by_source
from llama_serving.weights.source.interface import Source, SourceError
from llama_serving.weights.source.local import LocalSource
from llama_serving.weights.source.retry import RetryPolicy, with_retries


@dataclass(frozen=True)
class ResolveRequest:
    """What to resolve, and what it must be."""

    location: str  # the source's URI, for messages
    check: Check = "full"
    digest: str = ""  # that the manifest must have; empty: any
    license: str = ""  # that was accepted; empty: not compared


async def resolve(source: Source, request: ResolveRequest, *, retry: RetryPolicy, progress: ReadProgress) -> Resolution:
    """Inspect the folder of ``source``. Refusals and failures of the source are reports; only bugs are raised."""
    known = PartialResult()
    try:
        known.revision = await with_retries(source.resolve, retry)
        folder = await _folder(source, request, retry)
        facts, headers = await asyncio.to_thread(examine, folder)
        known.license = find_license(folder.license_files)
        _check_license(known.license, request)
        if request.check == "listing":
            manifest = listed_manifest(folder, headers)
        else:
            manifest = await read_manifest(source, folder, headers, retry=retry, progress=progress)
        _check_digest(manifest, request)
    except RefusedError as refusal:
        return refused(str(refusal.reason), refusal.message, known=known)
    except SourceError as error:
        return refused_by_source(error, known)
    return accepted(facts, manifest, known)


async def _folder(source: Source, request: ResolveRequest, retry: RetryPolicy) -> FetchedFolder:
    if isinstance(source, LocalSource):
        # On a disk the inspection can say more: modes, owners, links to nothing.
        await asyncio.to_thread(lambda: examine(open_folder(source.path)))
    listed = await with_retries(source.list, retry)
    return await fetch(source, listed, location=request.location, retry=retry)


def _check_digest(manifest: Manifest, request: ResolveRequest) -> None:
    if request.digest not in ("", manifest.digest):
        raise digest_differs(
            f"the {len(manifest.files)} files of {shown(request.location)} have the digest {manifest.digest}, expected "
            f"is {shown(request.digest)}: they are other weights than those that were checked, or the digest is "
            "mistyped"
        )


def _check_license(found: str, request: ResolveRequest) -> None:
    if found and request.license and not same_license(found, request.license):
        raise RefusedError(
            ReportReason.LICENSE_REFUSED,
            f"the model's own files name the license {found}, accepted was {shown(request.license)}: read it, and "
            f"name {found} if you accept it",
        )
