"""One HTTP client for the schemes whose answers are read here: http(s)://, oci:// and the files of hf://.

It is aiohttp and not obstore's HTTP store, because that one hides status and Retry-After of an answer. Bytes are asked
for by range; a server that ignores the range is read from the beginning and what was not asked for is dropped.

Credentials go to the origin of ``base``, never over plain http beyond loopback unless the Secret allows it, and never
along with a redirect to another origin. Every address is checked (``addresses``) when it is connected to.
"""

import base64
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import aiohttp
from yarl import URL

from llama_serving.config.error_text import error_text
from llama_serving.weights.source.addresses import CheckedResolver, check_address, is_address, is_loopback, own_rules
from llama_serving.weights.source.credentials import AUTHORITY, Credentials
from llama_serving.weights.source.http_errors import Remedies, failure
from llama_serving.weights.source.interface import Broken, Denied, Gone, NoSourceError
from llama_serving.weights.source.redirects import MOST_REDIRECTS, STATUSES, next_address, origin

_PIECE: Final = 1 << 20
SMALL: Final = 16 << 20  # bytes of an index or a listing; nothing of that kind is larger
# No byte for so long: the connection is dead. A whole file may take hours.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
_TOTAL: Final = re.compile(r"bytes (?:\*|\d+-\d+)/(\d+)")

Authorize = Callable[[str], Awaitable[str]]
"""From the WWW-Authenticate header of a 401 to an Authorization header; empty when there is none."""


class HttpClient:
    """GET requests of one source. Raises SourceError's kinds and nothing else.

    ``base``: an address of the origin that the credentials are for.
    """

    def __init__(
        self,
        fix: Remedies,
        *,
        base: str,
        credentials: Credentials,
        authorization: str = "",
        authorize: Authorize | None = None,
    ) -> None:
        self._fix = fix
        self._base = URL(base)
        self._rules = own_rules()
        self._credentials = credentials
        self._authorization = authorization
        self._authorize = authorize
        self._session: aiohttp.ClientSession | None = None

    async def get_small(
        self, url: str, headers: Mapping[str, str] | None = None, *, limit: int = SMALL
    ) -> tuple[bytes, Mapping[str, str]]:
        """Return an answer of at most ``limit`` bytes, and its headers."""
        async with self._get(url, dict(headers or {})) as response:
            text = bytearray()
            async for piece in response.content.iter_chunked(_PIECE):
                text += piece
                if len(text) > limit:
                    raise Gone(f"GET {url} answers more than {limit >> 20} MiB, which is no list: {self._fix.gone}")
            return bytes(text), response.headers

    async def probe(self, url: str) -> tuple[int, bool]:
        """Return the bytes of a file, and whether ranges of it are served; requests its first byte."""
        async with self._get(url, {"Range": "bytes=0-0"}, empty=True) as response:
            total = _TOTAL.fullmatch(response.headers.get("Content-Range", ""))
            if total:
                return int(total[1]), True
            if response.content_length is None:
                raise Gone(f"GET {url} does not say how long the file is: serve it with Content-Length")
            return response.content_length, False

    async def read(self, url: str, *, begin: int, end: int | None) -> AsyncIterator[bytes]:
        """Yield bytes ``[begin, end)`` of a file in pieces of at most a MiB."""
        if end is not None and end <= begin:
            return
        last = "" if end is None else end - 1
        headers = {"Range": f"bytes={begin}-{last}"} if begin or end is not None else {}
        async with self._get(url, headers, empty=True) as response:
            if response.status == 416:
                raise Broken(f"GET {url} has no byte {begin}: the file was changed while it was read")
            position = begin if response.status == 206 else 0
            async for piece in response.content.iter_chunked(_PIECE):
                wanted = piece[max(0, begin - position) : None if end is None else max(0, end - position)]
                position += len(piece)
                if wanted:
                    yield wanted
                if end is not None and position >= end:
                    return
        if end is not None and position < end:
            raise Broken(f"GET {url} ended at byte {position} instead of {end}")

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()

    @asynccontextmanager
    async def _get(
        self, url: str, headers: dict[str, str], *, empty: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the answer once it is a good one; ``empty``: 416 is good too, as an empty file has no range."""
        try:
            async with self._ask(url, headers) as first:
                challenge = first.headers.get("WWW-Authenticate", "") if first.status == 401 else ""
                if not challenge or not self._authorize:
                    await self._check(first, url, empty=empty)
                    yield first
                    return
            self._authorization = await self._authorize(challenge)
            async with self._ask(url, headers) as second:
                await self._check(second, url, empty=empty)
                yield second
        except aiohttp.InvalidURL as error:
            raise self._no_address(url) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:  # an untrusted certificate is a ValueError too
            raise Broken(f"GET {url} failed: {error_text(error)}") from error
        except ValueError as error:
            raise self._no_address(url) from error

    def _no_address(self, url: str) -> Gone:
        return NoSourceError(f"{url} is no address: {self._fix.gone}")

    @asynccontextmanager
    async def _ask(self, url: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the first answer that is no redirect; the credentials stay at their origin."""
        address = URL(url)
        trusted = origin(address) == origin(self._base)
        for _ in range(MOST_REDIRECTS + 1):
            async with self._ask_once(address, headers, trusted=trusted) as response:
                if response.status not in STATUSES:
                    yield response
                    return
                target = next_address(address, response.headers.get("Location", ""))
            trusted = trusted and origin(target) == origin(address)
            address = target
        raise Gone(f"GET {url} redirects more than {MOST_REDIRECTS} times: {self._fix.gone}")

    def _ask_once(
        self, address: URL, headers: dict[str, str], *, trusted: bool
    ) -> "aiohttp.client._RequestContextManager":
        # A compressed answer would have other bytes than those that were asked for.
        headers = {**headers, "Accept-Encoding": "identity"}
        host = address.host or ""
        if is_address(host):
            check_address(host, host, self._rules)
        if trusted and self._authorization:
            if address.scheme != "https" and not (is_loopback(host) or self._credentials.plain_http):
                raise Denied(
                    f"credentials are not sent to {host} over plain http: use https, or set plain-http to true in the "
                    "Secret"
                )
            headers["Authorization"] = self._authorization
        return self._open_session().get(address, headers=headers, allow_redirects=False)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=_tls(self._credentials), resolver=CheckedResolver(self._rules))
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=_TIMEOUT, auto_decompress=False, trust_env=True, read_bufsize=_PIECE
            )
        return self._session

    async def _check(self, response: aiohttp.ClientResponse, url: str, *, empty: bool) -> None:
        if response.status < 300 or (empty and response.status == 416):
            return
        said = (await response.content.read(1000)).decode("utf-8", "replace")
        raise failure(
            response.status,
            response.headers,
            asked=f"GET {url}",
            said=response.reason or "" if "<" in said else said or response.reason or "",
            fix=self._fix,
            now=datetime.now(UTC),
        )


def basic_authorization(user: str, password: str) -> str:
    """Return the Authorization header of a user with a password (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _tls(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority = credentials.get(AUTHORITY)
    if authority:
        context.load_verify_locations(cadata=authority)
    return context
