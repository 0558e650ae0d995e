"""Looks at weights where they are: what is there, may it be served, and what are its digests?

    list -> small files and headers -> is it a Llama, whole, without code -> license -> digests -> manifest

``check="full"`` reads every byte once and takes the sha256 of each file and tensor; ``check="listing"`` believes the
sha256 that the source lists and reads no weights. A refusal is a result. What passes by itself (Busy, Broken) is waited
for within the patience; what is left of it then is a refusal too.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from llama_serving.common.concurrency import together
from llama_serving.config.model import ModelFacts, WeightsReport
from llama_serving.config.reasons import ReportReason
from llama_serving.config.weights import Manifest, ManifestFile
from llama_serving.weights.model.errors import RefusedError, shown
from llama_serving.weights.model.folder import open_folder
from llama_serving.weights.model.inspection import examine, summary
from llama_serving.weights.model.safetensors import Header, Weights
from llama_serving.weights.resolve.digests import Digests, digest_file
from llama_serving.weights.resolve.fetched_folder import FetchedFolder, fetch
from llama_serving.weights.resolve.license import find_license, same_license
from llama_serving.weights.resolve.progress import Progress
from llama_serving.weights.source.interface import Denied, Gone, Source, SourceError
from llama_serving.weights.source.local import LocalSource
from llama_serving.weights.source.retry import Patience, patiently, read_patiently

Check = Literal["full", "listing"]
_AT_ONCE: Final = 4


@dataclass(frozen=True)
class Wanted:
    """What is looked for."""

    place: str  # the source's URI, for sentences
    check: Check = "full"
    digest: str = ""  # that the manifest must have; empty: any
    license: str = ""  # that was accepted; empty: not compared


@dataclass(frozen=True)
class Resolution:
    """The report, and the manifest where the weights were accepted."""

    report: WeightsReport
    manifest: Manifest | None = None


@dataclass
class Seen:
    """What is known when a refusal comes; it goes into the report."""

    revision: str = ""
    license: str = ""


async def resolve(source: Source, wanted: Wanted, *, patience: Patience, progress: Progress) -> Resolution:
    """Look at the folder of ``source``. Refusals and failures of the source are reports; only bugs are raised."""
    seen = Seen()
    try:
        seen.revision = await patiently(source.resolve, patience)
        folder = await _folder(source, wanted, patience)
        facts, weights = await asyncio.to_thread(examine, folder)
        seen.license = find_license(folder.told)
        _check_license(seen.license, wanted)
        manifest = await _manifest(source, folder, weights, check=wanted.check, patience=patience, progress=progress)
        _check_digest(manifest, wanted)
    except RefusedError as refusal:
        return _refused(str(refusal.reason), refusal.message, seen)
    except SourceError as error:
        return refused_by_source(error, seen)
    return _accepted(facts, manifest, seen)


async def _folder(source: Source, wanted: Wanted, patience: Patience) -> FetchedFolder:
    if isinstance(source, LocalSource):
        # On a disk the inspector can say more: modes, owners, links to nothing.
        await asyncio.to_thread(lambda: examine(open_folder(source.path)))
    listed = await patiently(source.list, patience)
    return await fetch(source, listed, place=wanted.place, patience=patience)


async def _manifest(
    source: Source, folder: FetchedFolder, weights: Weights, *, check: Check, patience: Patience, progress: Progress
) -> Manifest:
    small = [_small_file(folder, name) for name in folder.small]
    if check == "listing":
        return Manifest(files=(*small, *(_listed_file(folder, name) for name in sorted(weights.headers))))
    progress.expect(sum(folder.size(name) for name in weights.headers))

    async def digest(name: str) -> Digests:
        pieces = read_patiently(source, name, begin=0, end=folder.size(name), patience=patience)
        found = await digest_file(progress.counted(pieces), weights.headers[name])
        _check_read(folder, name, found, header=weights.headers[name])
        return found

    names = sorted(weights.headers)
    read = dict(zip(names, await together(digest, names, most=_AT_ONCE), strict=True))
    large = (ManifestFile(path=name, size=folder.size(name), sha256=found.file) for name, found in read.items())
    return Manifest(
        files=(*small, *large),
        tensors={name: found.tensors for name, found in read.items()},
        headers={name: found.header for name, found in read.items()},
    )


def _check_read(folder: FetchedFolder, name: str, found: Digests, *, header: Header) -> None:
    """The tensors were found by the header that was read first: it must still be the file's."""
    if hashlib.sha256(folder.contents[name][: header.length]).hexdigest() != found.header:
        raise _differs(f"{shown(name)} was changed while it was read: its header is another than before")
    _check_listed(folder, name, found.file)


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
            f"{shown(folder.place)} lists no sha256 of {shown(name)}: put a file SHA256SUMS beside it (sha256sum *), "
            "or set check to full",
        )
    return ManifestFile(path=name, size=file.size, sha256=file.sha256)


def _check_listed(folder: FetchedFolder, name: str, found: str) -> None:
    promised = folder.listed[name].sha256
    if promised not in ("", found):
        raise _differs(
            f"{shown(name)} has sha256 {found}, {shown(folder.place)} itself lists {promised}: the file is damaged or "
            "was exchanged; upload it again"
        )


def _check_digest(manifest: Manifest, wanted: Wanted) -> None:
    if wanted.digest not in ("", manifest.digest):
        raise _differs(
            f"the {len(manifest.files)} files of {shown(wanted.place)} have the digest {manifest.digest}, expected is "
            f"{shown(wanted.digest)}: they are other weights than those that were checked, or the digest is mistyped"
        )


def _check_license(found: str, wanted: Wanted) -> None:
    if found and wanted.license and not same_license(found, wanted.license):
        raise RefusedError(
            ReportReason.LICENSE_REFUSED,
            f"the model's own files name the license {found}, accepted was {shown(wanted.license)}: read it, and name "
            f"{found} if you accept it",
        )


def _differs(message: str) -> RefusedError:
    return RefusedError(ReportReason.DIGEST_DIFFERS, message)


def refused_by_source(error: SourceError, seen: Seen | None = None) -> Resolution:
    """The report on a source that gave nothing more."""
    match error:
        case Denied():
            reason = ReportReason.WEIGHTS_DENIED
        case Gone():
            reason = ReportReason.WEIGHTS_GONE
        case _:
            reason = ReportReason.WEIGHTS_BROKEN
    return _refused(reason, str(error), seen or Seen())


def _refused(reason: str, message: str, seen: Seen) -> Resolution:
    report = WeightsReport(
        outcome="refused", reason=reason, message=message, license=seen.license, revision=seen.revision
    )
    return Resolution(report)


def _accepted(facts: ModelFacts, manifest: Manifest, seen: Seen) -> Resolution:
    report = WeightsReport(
        outcome="accepted",
        reason=ReportReason.ACCEPTED,
        message=summary(facts),
        facts=facts,
        digest=manifest.digest,
        bytes=manifest.bytes,
        files=len(manifest.files),
        license=seen.license,
        revision=seen.revision,
    )
    return Resolution(report, manifest)
