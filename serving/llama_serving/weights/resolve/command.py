"""The command ``resolve``: inspects weights at their source, and reports to the operator what they are.

The report goes to the pod's termination message, the whole manifest into a file or a ConfigMap.
"""

import argparse
import asyncio
import sys
import traceback
from pathlib import Path

from llama_serving.common.kube_access import find_access
from llama_serving.config import names
from llama_serving.config.logs.lines import one_line
from llama_serving.config.source import fill
from llama_serving.config.weights import Manifest
from llama_serving.weights.model.inspection import encode
from llama_serving.weights.resolve.progress import ReadProgress
from llama_serving.weights.resolve.publish import publish
from llama_serving.weights.resolve.report import Resolution, refused_by_bug, refused_by_source
from llama_serving.weights.resolve.resolve import ResolveRequest, resolve
from llama_serving.weights.resolve.source_options import add_source_options, source_of
from llama_serving.weights.source.interface import SourceError
from llama_serving.weights.source.retry import RetryPolicy, with_retries


def add_arguments(command: argparse.ArgumentParser, *, adapter: bool = False) -> None:
    """Add the options of the command; of an ``adapter`` every byte is read, since there are few."""
    add_source_options(command)
    command.set_defaults(adapter=adapter, check="full")
    if not adapter:
        command.add_argument(
            "--check",
            choices=("full", "listing"),
            help="read all files (the default), or trust the sha256 that the source lists",
        )
    command.add_argument("--expect", default="", metavar="SHA256", help="digest that the manifest must have")
    command.add_argument("--license", default="", help="license that was accepted; one that contradicts it is refused")
    command.add_argument(
        "--retry-seconds", type=float, default=900, help="seconds that a source may fail (%(default)s)"
    )
    log = Path(names.TERMINATION_LOG)
    command.add_argument("--report", type=Path, default=log, help="file for the report (%(default)s)")
    target = command.add_mutually_exclusive_group(required=True)
    target.add_argument("--manifest", type=Path, help="file for the manifest")
    target.add_argument("--config-map", metavar="NAMESPACE/NAME", help="ConfigMap for the manifest")


def run(options: argparse.Namespace) -> int:
    """Resolve, publish the manifest, and then report, so that a reader of the report finds the manifest.

    Raises:
        OSError: the report or the manifest cannot be written.
        PublishError, SourceError: the API server did not take the manifest.
    """
    retry = RetryPolicy(deadline=options.retry_seconds, notify=_log)
    resolution = asyncio.run(_resolve(options, retry))
    if resolution.manifest:
        asyncio.run(_store(options, resolution.manifest, retry))
    options.report.write_bytes(encode(resolution.report))
    sys.stdout.write(f"{resolution.report.outcome}: {resolution.report.message}\n")
    return 0


async def _resolve(options: argparse.Namespace, retry: RetryPolicy) -> Resolution:
    try:
        source = source_of(options)
    except SourceError as error:
        return refused_by_source(error)
    location = fill(options.source, options.revision)
    request = ResolveRequest(
        location, check=options.check, digest=options.expect, license=options.license, adapter=options.adapter
    )
    try:
        return await resolve(source, request, retry=retry, progress=ReadProgress(_log))
    except Exception as error:  # a bug, which must not look like a model that is still being resolved
        traceback.print_exc()
        return refused_by_bug(error)
    finally:
        await source.close()


async def _store(options: argparse.Namespace, manifest: Manifest, retry: RetryPolicy) -> None:
    if options.manifest:
        options.manifest.write_text(manifest.model_dump_json())
        return
    namespace, _, name = options.config_map.partition("/")
    await with_retries(lambda: publish(manifest, namespace=namespace, name=name, access=find_access()), retry)


def _log(line: str) -> None:
    sys.stderr.write(f"{one_line(line)}\n")
    sys.stderr.flush()
