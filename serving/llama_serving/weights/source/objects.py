"""``s3://bucket/path``, ``gs://bucket/path`` and ``az://account/container/path``: object stores, through obstore.

obstore and not fsspec's three packages: one client for all of them, with types, without dependencies, without a
thread or a cache of its own. Its retries are off, so that one module retries (``retry``). It does
not show an answer's headers: a store that is busy is asked again after a growing pause, not after its Retry-After.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, S3Store

from llama_serving.common.file_names import is_plain_name
from llama_serving.config import names
from llama_serving.config.error_text import error_text
from llama_serving.config.source import Address
from llama_serving.weights.source.addresses import own_rules
from llama_serving.weights.source.credentials import AUTHORITY, Credentials
from llama_serving.weights.source.http_errors import Remedies, failure
from llama_serving.weights.source.interface import Broken, Gone, ListedFile, SourceError
from llama_serving.weights.source.store_endpoints import check_addresses, check_plain
from llama_serving.weights.source.sums import add_digests

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_PIECE: Final = 1 << 20
_NO_RETRY: "Final[RetryConfig]" = {"max_retries": 0}
# obstore's own limit is 30 s for a whole answer, and a shard takes minutes: what counts is that bytes come.
_CLIENT: "Final[ClientConfig]" = {"timeout": timedelta(days=1), "read_timeout": timedelta(seconds=60)}
_STATUS: Final = re.compile(r"status code: (\d{3})")
_TAGS: Final = re.compile(r"<(Code|Message)>([^<]*)</")


@dataclass(frozen=True)
class _Store:
    """What differs between the stores."""

    prefix: str  # of the Secret's keys, and of the variables of a pod's own identity
    anonymous: str  # option that asks for objects without a signature
    keys: str  # that a Secret needs


_STORES: Final = {
    "s3": _Store("AWS_", "aws_skip_signature", "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION"),
    "gs": _Store("GOOGLE_", "google_skip_signature", "GOOGLE_SERVICE_ACCOUNT_KEY (the JSON text)"),
    "az": _Store("AZURE_", "azure_skip_signature", "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY"),
}
SCHEMES: Final = frozenset(_STORES)


class ObjectStoreSource:
    """The folder below one prefix of a bucket; the Secret's keys are those that obstore takes."""

    ranged = True

    def __init__(self, address: Address, *, revision: str, credentials: Credentials) -> None:
        self._uri = address.uri
        self._revision = revision
        self._fix = Remedies(
            denied=_remedy(_STORES[address.scheme].keys),
            gone="check bucket and path in model.source",
        )
        kind = _STORES[address.scheme]
        self._options = {key.lower(): value for key, value in credentials.starting(kind.prefix).items()}
        self._rules = own_rules()
        try:
            self._store = _open(address, credentials, given=dict(self._options))
        except (BaseError, ValueError) as error:
            raise Gone(f"{self._uri} cannot be opened with these credentials: {self._fix.denied}") from error

    async def resolve(self) -> str:
        """Return the revision as given: it is part of the path."""
        return self._revision

    async def list(self) -> tuple[ListedFile, ...]:
        """Return the objects directly in the folder; digests from SHA256SUMS where it is there."""
        await self._check_addresses()
        try:
            found = await obstore.list_with_delimiter_async(self._store)
        except (BaseError, OSError, ValueError) as error:
            raise self._failure(error, self._uri) from error
        named = [ListedFile(entry["path"].rpartition("/")[2], entry["size"]) for entry in found["objects"]]
        files = [file for file in named if is_plain_name(file.path)]
        if not files:
            raise Gone(f"{self._uri} holds no object: {self._fix.gone}")
        return await add_digests(tuple(sorted(files)), self.read)

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield bytes by range, in pieces of about a MiB; a connection that ends loses at most one piece."""
        if end is not None and end <= begin:
            return
        await self._check_addresses()
        position = begin
        try:
            answer = await obstore.get_async(self._store, path, options=_range(begin, end))
            async for piece in answer.stream(min_chunk_size=_PIECE):
                position += len(piece)
                yield bytes(piece)
        except (BaseError, OSError, ValueError) as error:
            raise self._failure(error, f"{self._uri}/{path}") from error
        if end is not None and position != end:
            raise Broken(f"{self._uri}/{path} ended at byte {position} instead of {end}")

    async def close(self) -> None:
        """Do nothing: the store closes its connections when it is freed."""

    async def _check_addresses(self) -> None:
        await asyncio.to_thread(check_addresses, self._options, self._rules)

    def _failure(self, error: Exception, asked: str) -> SourceError:
        """Return the failure that an error of obstore means, by its class or by the status in its text."""
        status = _status(error)
        if status is None:
            return Broken(f"{asked} failed: {error_text(error)}")
        said = ": ".join(text for _, text in _TAGS.findall(str(error))[:2])
        return failure(status, {}, asked=asked, said=said, fix=self._fix, now=datetime.now(UTC))


def _remedy(keys: str) -> str:
    """Return what to do where the store lets nobody in."""
    if names.ENV_OWN_IDENTITY in os.environ:
        return "let the account in serviceAccountName list and read the folder, by the cloud's rules"
    return f"name a Secret in credentialsSecret with {keys} of an account that may list and read the folder"


def _open(address: Address, credentials: Credentials, *, given: dict[str, str]) -> "ObjectStore":
    kind = _STORES[address.scheme]
    known = names.ENV_OWN_IDENTITY in os.environ or any(name.startswith(kind.prefix) for name in os.environ)
    if not given and not known:
        given[kind.anonymous] = "true"  # and not whatever role the node has
    plain = check_plain(given, credentials, anonymous=given.get(kind.anonymous) == "true")
    client: ClientConfig = {**_CLIENT, "allow_http": plain}
    if authority := credentials.get(AUTHORITY):
        client["root_certificate"] = authority
    options: dict[str, Any] = {"config": given, "client_options": client, "retry_config": _NO_RETRY}
    match address.scheme:
        case "s3":
            return S3Store(address.host, prefix=address.path or None, **options)
        case "gs":
            return GCSStore(address.host, prefix=address.path or None, **options)
        case _:
            container, _, prefix = address.path.partition("/")
            return AzureStore(container, prefix=prefix or None, account_name=address.host, **options)


def _range(begin: int, end: int | None) -> Any:
    if end is not None:
        return {"range": (begin, end)}
    return {"range": {"offset": begin}} if begin else {}


def _status(error: Exception) -> int | None:
    match error:
        case FileNotFoundError():
            return 404
        case PermissionDeniedError():
            return 403
        case UnauthenticatedError():
            return 401
    found = _STATUS.search(_first_line(error))
    return int(found[1]) if found else None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
