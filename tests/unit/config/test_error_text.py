"""No library's own text reaches a status: every kind of error that an edge meets has words of ours."""

import asyncio
import errno
import gzip
import json
import re
import socket
import ssl
from types import SimpleNamespace
from typing import Any, Literal

import aiohttp
import obstore.exceptions
import pytest
from aiohttp.client_reqrep import ConnectionKey
from kubernetes.aio.client import ApiException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from yarl import URL

from llama_serving.config.error_text import error_text, rule_text, status_text

KEY = ConnectionKey("10.0.0.1", 8080, False, True, None, None, None)
REQUEST = SimpleNamespace(real_url=URL("http://x/"), method="GET", headers={})


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int = Field(default=1, ge=1, le=9)
    word: Literal["a", "b"] = "a"
    text: str = Field(default="abc", min_length=2, max_length=4, pattern="^a")
    needed: int = 0

    @field_validator("needed")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it must be even")
        return value


class Needy(BaseModel):
    digest: str


def invalid(kind: type[BaseModel] = Model, /, **fields: Any) -> ValidationError:
    with pytest.raises(ValidationError) as raised:
        kind.model_validate(fields)
    return raised.value


def decoded(text: bytes) -> Exception:
    with pytest.raises(UnicodeDecodeError) as raised:
        text.decode()
    return raised.value


def parsed(text: str) -> Exception:
    with pytest.raises(json.JSONDecodeError) as raised:
        json.loads(text)
    return raised.value


def untrusted(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1006)")
    error.verify_code = code
    return error


def wrapped(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 8080)")
STORE_NO_NAME = "HTTP error: error sending request: client error (Connect): dns error: x"
STORE_REFUSED = "error sending request: tcp connect error: Connection refused (os error 111)"

ERRORS: list[tuple[Exception, str]] = [
    (aiohttp.ClientConnectorError(KEY, REFUSED), "connection refused"),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.EHOSTUNREACH, "No route to host")), "host not reachable"),
    (aiohttp.ClientConnectorDNSError(KEY, OSError(None, "Name or service not known")), "name not found"),
    (aiohttp.ClientConnectorCertificateError(KEY, untrusted(18)), "certificate not trusted"),
    (aiohttp.ClientConnectorCertificateError(KEY, untrusted(10)), "certificate not valid at this time"),
    (aiohttp.ClientConnectorCertificateError(KEY, untrusted(62)), "certificate of another name"),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "WRONG_VERSION_NUMBER")), "no TLS connection"),
    (aiohttp.ServerTimeoutError("Timeout on reading data from socket"), "no answer within 5 s"),
    (aiohttp.ConnectionTimeoutError("Connection timeout to host http://10.0.0.1:8080"), "no answer within 5 s"),
    (aiohttp.ServerDisconnectedError(), "connection closed without an answer"),
    (aiohttp.ClientPayloadError("Response payload is not completed: <Error: 400 ...>"), "answer cut off"),
    (aiohttp.ClientOSError(errno.ECONNRESET, "Connection reset by peer"), "connection reset"),
    (aiohttp.ClientConnectionResetError("Cannot write to closing transport"), "connection reset"),
    (aiohttp.ClientResponseError(REQUEST, (), status=503, message="x"), "HTTP 503 (Service Unavailable)"),  # type: ignore[arg-type]
    (aiohttp.ContentTypeError(REQUEST, (), status=200, message="x"), "answer of another kind"),  # type: ignore[arg-type]
    (aiohttp.TooManyRedirects(REQUEST, (), status=302), "too many redirects"),  # type: ignore[arg-type]
    (aiohttp.InvalidURL("http://["), "not a valid address"),
    (TimeoutError(), "no answer within 5 s"),
    (asyncio.IncompleteReadError(b"", 10), "answer cut off"),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name not found"),
    (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "the name server does not answer"),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "connection reset"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), "connection reset"),
    (PermissionError(errno.EACCES, "Permission denied", "/models/a"), "access denied"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "/models/a"), "not found"),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "not a folder"),
    (IsADirectoryError(errno.EISDIR, "Is a directory"), "a folder, not a file"),
    (OSError(errno.ENOSPC, "No space left on device"), "disk full"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota used up"),
    (OSError(errno.EIO, "Input/output error"), "the disk does not read or write"),
    (OSError(errno.EROFS, "Read-only file system"), "read-only"),
    (OSError(errno.ESTALE, "Stale file handle"), "the volume was replaced by another one"),
    (OSError("anything"), "failed with OSError"),
    (ssl.SSLError(1, "[SSL] internal error"), "no TLS connection"),
    (untrusted(20), "certificate not trusted"),
    (obstore.exceptions.UnauthenticatedError("Generic S3 error"), "credentials missing or not valid"),
    (obstore.exceptions.PermissionDeniedError("Generic S3 error"), "access denied"),
    (obstore.exceptions.NotFoundError("Object at location x not found"), "not found"),
    (obstore.exceptions.GenericError(STORE_NO_NAME), "name not found"),
    (obstore.exceptions.GenericError(STORE_REFUSED), "connection refused"),
    (obstore.exceptions.GenericError("invalid peer certificate: UnknownIssuer"), "certificate not trusted"),
    (obstore.exceptions.GenericError("HTTP error: operation timed out"), "no answer within 5 s"),
    (obstore.exceptions.GenericError("HTTP error: error decoding response body"), "answer cut off"),
    (obstore.exceptions.GenericError("some news of a later version"), "failed with GenericError"),
    (ApiException(status=403, reason="Forbidden"), "HTTP 403 (Forbidden)"),
    (ApiException(status=409, reason="Conflict"), "HTTP 409 (Conflict)"),
    (invalid(number="x"), "number has another type"),
    (invalid(number=0), "number must be at least 1"),
    (invalid(number=10), "number must be at most 9"),
    (invalid(word="c"), "word must be 'a' or 'b'"),
    (invalid(text="a"), "text must have at least 2 characters"),
    (invalid(text="bbb"), "text must match ^a"),
    (invalid(needed=1), "needed is refused: it must be even"),
    (invalid(other=1), "other is not a known field"),
    (invalid(Needy), "digest is missing"),
    (parsed("{\n,"), "not valid JSON at line 2"),
    (decoded(b"\xff"), "not valid UTF-8"),
    (gzip.BadGzipFile("Not a gzipped file (b'xx')"), "not a valid gzip file"),
    (EOFError("Compressed file ended before the end-of-stream marker was reached"), "ends too early"),
    (wrapped(RuntimeError("x"), TimeoutError()), "no answer within 5 s"),
    (RuntimeError("https://user:secret@host/"), "failed with RuntimeError"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "words"), ERRORS, ids=lambda one: type(one).__name__ if isinstance(one, Exception) else one
)
def test_an_error_of_a_library_in_our_words(error: Exception, words: str) -> None:
    assert error_text(error, deadline=5) == words


def test_there_are_many_kinds() -> None:
    assert len({type(error) for error, _ in ERRORS}) >= 25


@pytest.mark.parametrize("error", [error for error, _ in ERRORS], ids=lambda error: type(error).__name__)
def test_the_words_are_a_clause_without_an_address_or_a_number_of_the_library(error: Exception) -> None:
    words = error_text(error)
    assert not words.endswith(".")
    assert not re.search(r"://|\[|_ssl|errno|0x|\n", words)
    assert len(words) < 80


def test_a_deadline_that_is_not_known() -> None:
    assert error_text(TimeoutError()) == "no answer in time"


def test_errors_that_raise_each_other_come_to_an_end() -> None:
    one, other = RuntimeError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert error_text(one) == "failed with RuntimeError"


@pytest.mark.parametrize(("status", "shown"), [(404, "HTTP 404 (Not Found)"), (599, "HTTP 599")])
def test_a_status(status: int, shown: str) -> None:
    assert status_text(status) == shown


def test_a_rule_of_the_whole() -> None:
    found = {"type": "json_invalid", "loc": (), "ctx": {"error": "expected ident at line 1"}}
    assert rule_text(found) == "the answer is not valid JSON"
    assert rule_text({"type": "greater_than", "loc": ("a", 0)}) == "a.0 must be more than "
