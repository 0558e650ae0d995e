"""Writes a manifest into the empty ConfigMap of the operator, the only one that the resolver may patch.

JSON with gzip: a model of 126 layers has 1,100 tensors and so 90 kB of digests; a ConfigMap holds 1 MiB.
"""

import base64
import gzip
from typing import Final

import aiohttp

from llama_serving.common.kube_access import Access
from llama_serving.config.error_text import error_text
from llama_serving.config.http_status import RETRIED_BY_API_CLIENTS
from llama_serving.config.model import MANIFEST_KEY
from llama_serving.config.weights import Manifest
from llama_serving.weights.source.interface import Broken, SourceError

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)


class PublishError(Exception):
    """The API server refused the manifest; the text has its status and its message."""


def pack(manifest: Manifest) -> bytes:
    """Return the manifest as it is stored: the same manifest gives the same bytes."""
    return gzip.compress(manifest.model_dump_json().encode(), mtime=0)


async def publish(manifest: Manifest, *, namespace: str, name: str, access: Access) -> None:
    """Patch the ConfigMap.

    Raises:
        Broken: the API server was not there or busy; another try may work.
        PublishError: it refused.
    """
    body = {"binaryData": {MANIFEST_KEY: base64.b64encode(pack(manifest)).decode()}}
    headers = {**access.headers, "content-type": "application/merge-patch+json"}
    url = f"{access.url}/api/v1/namespaces/{namespace}/configmaps/{name}"
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.patch(url, json=body, headers=headers, ssl=access.tls or True) as response,
        ):
            if response.status >= 300:
                raise _failure(response.status, await response.text(), f"ConfigMap {namespace}/{name}")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Broken(
            f"the API server at {access.url} did not take ConfigMap {namespace}/{name}: {error_text(error)}"
        ) from error


def _failure(status: int, text: str, what: str) -> SourceError | PublishError:
    message = f"the API server answered {status} to the manifest for {what}: {text[:300]}"
    return Broken(message) if status in RETRIED_BY_API_CLIENTS else PublishError(message)
