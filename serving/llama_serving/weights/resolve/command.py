"""The command ``resolve``: looks at weights at their source, and tells the operator what they are.

The report goes to the pod's termination message, the whole manifest into a file or a ConfigMap.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from llama_serving.common.kube_access import find_access
from llama_serving.config.source import fill
from llama_serving.config.weights import Manifest
from llama_serving.weights.model.inspection import encode
from llama_serving.weights.resolve.progress import Progress
from llama_serving.weights.resolve.publish import publish
from llama_serving.weights.resolve.resolve import Resolution, Wanted, refused_by_source, resolve
from llama_serving.weights.source.factory import open_source
from llama_serving.weights.source.interface import SourceError
from llama_serving.weights.source.retry import Patience, patiently

_TERMINATION_LOG: Final = Path("/dev/termination-log")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Options of the command."""
    command.add_argument("--source", required=True, help="URI of the folder; {revision} in it is filled in")
    command.add_argument("--revision", default="", help="commit, tag, version, date or digest")
    command.add_argument("--credentials", type=Path, help="folder with one file per key of a Secret")
    command.add_argument("--check", choices=("full", "listing"), default="full", help="read all, or believe the list")
    command.add_argument("--expect", default="", metavar="SHA256", help="digest that the manifest must have")
    command.add_argument("--license", default="", help="license that was accepted; one that contradicts it is refused")
    command.add_argument("--patience", type=float, default=900, help="seconds that a source may fail (%(default)s)")
    command.add_argument("--report", type=Path, default=_TERMINATION_LOG, help="file for the report (%(default)s)")
    target = command.add_mutually_exclusive_group(required=True)
    target.add_argument("--manifest", type=Path, help="file for the manifest")
    target.add_argument("--config-map", metavar="NAMESPACE/NAME", help="ConfigMap for the manifest")


def run(options: argparse.Namespace) -> int:
    """Resolve, publish the manifest, and then report: who reads the report finds the manifest.

    Raises:
        OSError: the report or the manifest cannot be written.
        PublishError, SourceError: the API server did not take the manifest.
    """
    patience = Patience(deadline=options.patience, tell=_tell)
    resolution = asyncio.run(_resolve(options, patience))
    if resolution.manifest:
        asyncio.run(_store(options, resolution.manifest, patience))
    options.report.write_bytes(encode(resolution.report))
    sys.stdout.write(f"{resolution.report.outcome}: {resolution.report.message}\n")
    return 0


async def _resolve(options: argparse.Namespace, patience: Patience) -> Resolution:
    try:
        source = open_source(options.source, revision=options.revision, credentials=options.credentials)
    except SourceError as error:
        return refused_by_source(error)
    place = fill(options.source, options.revision)
    wanted = Wanted(place, check=options.check, digest=options.expect, license=options.license)
    try:
        return await resolve(source, wanted, patience=patience, progress=Progress(_tell))
    finally:
        await source.close()


async def _store(options: argparse.Namespace, manifest: Manifest, patience: Patience) -> None:
    if options.manifest:
        options.manifest.write_text(manifest.model_dump_json())
        return
    namespace, _, name = options.config_map.partition("/")
    await patiently(lambda: publish(manifest, namespace=namespace, name=name, access=find_access()), patience)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
