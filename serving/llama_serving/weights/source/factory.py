"""Makes the source of a URI."""

from pathlib import Path
from typing import Final

from llama_serving.config import names
from llama_serving.config.source import fill, parse
from llama_serving.weights.source.credentials import Credentials
from llama_serving.weights.source.http_folder import HttpFolderSource
from llama_serving.weights.source.hub import HubSource
from llama_serving.weights.source.interface import Gone, Source
from llama_serving.weights.source.local import LocalSource
from llama_serving.weights.source.objects import SCHEMES, ObjectStoreSource
from llama_serving.weights.source.registry import RegistrySource

_MOUNT: Final = Path(names.MODEL_MOUNT)


def open_source(uri: str, *, revision: str, credentials: Path | None, mount: Path = _MOUNT) -> Source:
    """Return the source at ``uri``, its ``{revision}`` replaced by ``revision``; nothing is requested yet.

    Args:
        uri: of model.source.
        revision: of model.revision, or one that ``resolve`` gave.
        credentials: folder with one file per key of the Secret; None where none is named.
        mount: where the claim of a pvc:// URI is mounted.

    Raises:
        Gone: the URI is none, or of a scheme that is not known.
    """
    try:
        address = parse(fill(uri, revision))
    except ValueError as error:
        raise Gone(str(error)) from error
    secret = Credentials(credentials)
    match address.scheme:
        case "pvc":
            return LocalSource(mount / address.path, revision=revision, mount=mount)
        case "http" | "https":
            return HttpFolderSource(address.uri, revision=revision, credentials=secret)
        case "hf":
            return HubSource(address, revision=revision, credentials=secret)
        case "oci":
            return RegistrySource(address, revision=revision, credentials=secret)
        case scheme if scheme in SCHEMES:
            return ObjectStoreSource(address, revision=revision, credentials=secret)
        case _:
            raise Gone(f"{uri} has an unknown scheme: use hf, s3, gs, az, https, http, oci or pvc")
