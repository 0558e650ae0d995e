"""Inspects weights at their source: which files there are, whether they may be served, and what their digests are.

    list -> small files and headers -> is it a Llama, whole, without code -> license -> digests -> manifest

A LoRA adapter goes the same way; what it is is asked by another inspection.

``check="full"`` reads every byte once and takes the sha256 of each file and tensor; ``check="listing"`` trusts the
sha256 that the source lists and reads no weights. A refusal is a result. Busy and Broken are retried within the retry
policy; what fails longer is a refusal too.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from llama_serving.config.model import AdapterFacts, ModelFacts
from llama_serving.config.reasons import ReportReason
from llama_serving.config.weights import MANIFEST_LIMIT, Manifest
from llama_serving.weights.adapter.inspection import examine_adapter
from llama_serving.weights.model.chat import read_chat
from llama_serving.weights.model.errors import RefusedError, shown
from llama_serving.weights.model.folder import Folder, open_folder
from llama_serving.weights.model.inspection import examine
from llama_serving.weights.model.safetensors import ModelHeaders
from llama_serving.weights.resolve.fetched_folder import FetchedAdapter, FetchedFolder, fetch
from llama_serving.weights.resolve.license import README, FoundLicense, find_license
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
    adapter: bool = False  # a LoRA adapter is expected, not the weights of a model

    @property
    def examine(self) -> Callable[[Folder], tuple[ModelFacts | AdapterFacts, ModelHeaders]]:
        """The inspection of what is expected."""
        return examine_adapter if self.adapter else examine


async def resolve(source: Source, request: ResolveRequest, *, retry: RetryPolicy, progress: ReadProgress) -> Resolution:
    """Inspect the folder of ``source``. Refusals and failures of the source are reports; only bugs are raised."""
    known = PartialResult()
    try:
        known.revision = await with_retries(source.resolve, retry)
        folder = await _folder(source, request, retry)
        facts, headers = await asyncio.to_thread(request.examine, folder)
        if not request.adapter:
            known.chat = await asyncio.to_thread(read_chat, folder)
        license_found = find_license(folder.license_files)
        known.license, known.note = license_found.shown, _note(license_found)
        _check_license(license_found, request)
        if request.check == "listing":
            manifest = listed_manifest(folder, headers)
        else:
            manifest = await read_manifest(source, folder, headers, retry=retry, progress=progress)
        _check_digest(manifest, request)
        _check_fits(manifest)
    except RefusedError as refusal:
        return refused(str(refusal.reason), refusal.message, known=known)
    except SourceError as error:
        return refused_by_source(error, known)
    return accepted(facts, manifest, known)


async def _folder(source: Source, request: ResolveRequest, retry: RetryPolicy) -> FetchedFolder:
    if isinstance(source, LocalSource):
        # On a disk the inspection can say more: modes, owners, links to nothing.
        await asyncio.to_thread(source.check_place)
        await asyncio.to_thread(lambda: request.examine(open_folder(source.path)))
    listed = await with_retries(source.list, retry)
    folder = (FetchedAdapter if request.adapter else FetchedFolder)(request.location, listed)
    await fetch(folder, source, retry=retry)
    return folder


def _check_digest(manifest: Manifest, request: ResolveRequest) -> None:
    if request.digest not in ("", manifest.digest):
        raise digest_differs(
            f"the {len(manifest.files)} files of {shown(request.location)} have the digest {manifest.digest}, expected "
            f"is {shown(request.digest)}: they are other weights than those that were checked, or the digest is "
            "mistyped"
        )


def _check_fits(manifest: Manifest) -> None:
    size = len(manifest.model_dump_json().encode())
    if size > MANIFEST_LIMIT:
        tensors = sum(len(found) for found in manifest.tensors.values())
        raise RefusedError(
            ReportReason.MODEL_REFUSED,
            f"the manifest of {len(manifest.files)} files and {tensors} tensors has {size} bytes, and a ConfigMap has "
            f"room for {MANIFEST_LIMIT}: set check to listing, which lists no tensors",
        )


def _check_license(found: FoundLicense, request: ResolveRequest) -> None:
    if not request.license or not (found.names or found.half_named) or found.allows(request.license):
        return
    accepted = shown(request.license)
    if found.half_named and not found.names:
        raise RefusedError(
            ReportReason.LICENSE_REFUSED,
            f"{_unread(found)}, and it names a license: whether that is {accepted}, which was accepted, is not known; "
            f"correct the head of {README}",
        )
    which = "license" if len(found.names) == 1 else "licenses"
    one = found.shown if len(found.names) == 1 else f"one of {found.shown}"
    raise RefusedError(
        ReportReason.LICENSE_REFUSED,
        f"the model's own files name the {which} {found.shown}, accepted was {accepted}: read it, and "
        f"name {one} if you accept it",
    )


def _note(found: FoundLicense) -> str:
    """Return what an accepted report says of a head that could not be read."""
    if not found.fault:
        return ""
    named = f"the license is {found.shown} by what could be read" if found.names else "no license was compared"
    return f"{_unread(found)}: {named}"


def _unread(found: FoundLicense) -> str:
    return f"the head of {README} {found.fault}"
