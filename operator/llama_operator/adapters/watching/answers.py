"""Whether an answer to a GET of kopf is one: read up to a limit, JSON of the form that its path promises."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp

from llama_operator.adapters.bounded_body import read_up_to
from llama_operator.adapters.http_errors import message_of, retry_after
from llama_operator.adapters.watching.events import is_object
from llama_operator.bounds.json_text import OverLimitError
from llama_operator.ports import Manifest, Retry
from llama_serving.config.error_text import status_text
from llama_serving.config.http_status import RETRIED_BY_API_CLIENTS

#: Bytes of one page of a list. A page that is larger is asked for again with fewer objects, at last with one.
PAGE_BYTES: Final = 12 << 20
#: What the answers of discovery and of lists have, one of them.
_MEMBERS: Final = ("items", "resources", "groups", "versions")


class Fault(Retry):
    """No usable answer. ``after``: seconds that the server asks for; 0 where it does not."""

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message, after=after)


class LargePage(Fault):
    """A page has more bytes than its limit."""


async def body_of(response: aiohttp.ClientResponse) -> bytes:
    """Read a body. Raises LargePage."""
    try:
        return await read_up_to(response, PAGE_BYTES)
    except OverLimitError as error:
        raise LargePage(f"an answer {error}") from None


def is_fault(status: int) -> bool:
    """Tell whether a status says nothing about what was asked for: it is asked again."""
    return status >= 500 or (status in RETRIED_BY_API_CLIENTS and status != 409)


async def fault_of(response: aiohttp.ClientResponse) -> Fault:
    """Return what an answer with such a status says."""
    text = (await body_of(response)).decode(errors="replace")
    said = message_of(text) or f"it answers {status_text(response.status)}"
    return Fault(said, after=retry_after(response.headers, default=0.0))


def is_json(response: aiohttp.ClientResponse) -> bool:
    """Tell whether an answer says of itself that it is JSON: a proxy's page does not."""
    return "json" in response.headers.get("Content-Type", "json").lower()


def document(text: bytes) -> Manifest:
    """Return the answer to a list or to discovery. Raises Fault for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Fault(f"an answer of {len(text)} bytes is no JSON") from None
    if not isinstance(found, dict):
        raise Fault("an answer is no object of JSON")
    members = next((found[name] for name in _MEMBERS if isinstance(found.get(name), list)), None)
    if members is None:
        raise Fault("an answer is no list of Kubernetes")
    return found


def page(found: Manifest) -> Manifest:
    """Return a page of a list. Raises Fault where it has no version, or an item has no name and uid."""
    meta = found.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("resourceVersion"), str):
        raise Fault("a list has no resourceVersion")
    if not all(is_object(item) for item in found["items"]):
        raise Fault("a list has an item without a name and a uid")
    return found


class Replay:
    """A body that was read already, as ``ClientResponse.content``."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def exception(self) -> BaseException:
        """Tell aiohttp, which ends what is still read when a response is released, that nothing is."""
        return EOFError()

    async def read(self, _: int = -1) -> bytes:
        """Return all of it, once."""
        body, self._body = self._body, b""
        return body

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """Yield all of it, once."""
        if body := await self.read():
            yield body


def replaced(response: Any, content: Any) -> aiohttp.ClientResponse:
    """Return the response with another body."""
    response.content = content
    found: aiohttp.ClientResponse = response
    return found
