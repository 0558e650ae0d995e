"""Errors of libraries in our words: ``connection refused``, ``no answer within 5 s``, ``certificate not trusted``.

A library's own text names its classes, options and addresses, changes with its versions and may differ at every try.
So it never reaches a status, a condition, an event or a report: each edge says what it did and adds these words. No
library is imported here: errors are told apart by the names of their classes, their ``errno``, their ``status`` and,
where a library has nothing else, by its text. An error that only wraps another one is told by that one.
"""

import errno
import socket
import ssl
from collections import defaultdict
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from json import JSONDecodeError
from typing import Any, Final

_NAME_NOT_FOUND: Final = "name not found"
_NOT_TRUSTED: Final = "certificate not trusted"
_NO_ANSWER: Final = "no answer"  # followed by the deadline where it is known
_CLOSED: Final = "connection closed without an answer"
_RESET: Final = "connection reset"
_REFUSED: Final = "connection refused"

#: By the name of a class or of one of its bases; what says most comes before what says less.
_BY_NAME: Final[Mapping[str, str]] = {
    # aiohttp
    "ClientConnectorDNSError": _NAME_NOT_FOUND,
    "ClientConnectorCertificateError": _NOT_TRUSTED,
    "ServerFingerprintMismatch": _NOT_TRUSTED,
    "ServerDisconnectedError": _CLOSED,
    "ClientPayloadError": "answer cut off",
    "ContentTypeError": "answer of another kind",
    "TooManyRedirects": "too many redirects",
    "InvalidURL": "not a valid address",
    "NonHttpUrlClientError": "not a valid address",
    # obstore
    "NotFoundError": "not found",
    "PermissionDeniedError": "access denied",
    "UnauthenticatedError": "credentials missing or not valid",
    "InvalidPathError": "not a valid path",
    # the standard library
    "TimeoutError": _NO_ANSWER,
    "ConnectionRefusedError": _REFUSED,
    "ConnectionResetError": _RESET,
    "BrokenPipeError": _RESET,
    "IncompleteReadError": "answer cut off",
    "JSONDecodeError": "not valid JSON",
    "UnicodeDecodeError": "not valid UTF-8",
    "BadGzipFile": "not a valid gzip file",
    "EOFError": "ends too early",
}

_BY_ERRNO: Final[Mapping[int, str]] = {
    errno.ECONNREFUSED: _REFUSED,
    errno.ECONNRESET: _RESET,
    errno.ECONNABORTED: _RESET,
    errno.EPIPE: _RESET,
    errno.ETIMEDOUT: _NO_ANSWER,
    errno.EHOSTUNREACH: "host not reachable",
    errno.ENETUNREACH: "network not reachable",
    errno.EADDRINUSE: "port in use",
    errno.ENOENT: "not found",
    errno.ENOTDIR: "not a folder",
    errno.EISDIR: "a folder, not a file",
    errno.EEXIST: "already there",
    errno.ENOTEMPTY: "folder not empty",
    errno.EACCES: "access denied",
    errno.EPERM: "access denied",
    errno.EROFS: "read-only",
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "quota used up",
    errno.EIO: "the disk does not read or write",
    errno.ESTALE: "the volume was replaced by another one",
    errno.ENAMETOOLONG: "name too long",
    errno.ELOOP: "links in a circle",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.ENOMEM: "out of memory",
}

#: Parts of the text of libraries whose errors have no kind (obstore's client in Rust), in lower case.
_BY_TEXT: Final[Mapping[str, str]] = {
    "dns error": _NAME_NOT_FOUND,
    "name or service not known": _NAME_NOT_FOUND,
    "certificate": _NOT_TRUSTED,
    "connection refused": _REFUSED,
    "connection reset": _RESET,
    "broken pipe": _RESET,
    "timed out": _NO_ANSWER,
    "timeout": _NO_ANSWER,
    "connection closed": _CLOSED,
    "error decoding response body": "answer cut off",
    "unexpected end of file": "answer cut off",
    "error sending request": "no connection",
}

_CERTIFICATE_EXPIRED, _CERTIFICATE_OF_OTHER_NAME = (9, 10), 62  # verify codes of OpenSSL


def error_text(error: BaseException, *, deadline: float | None = None) -> str:
    """Return what went wrong, as the end of a clause. ``deadline``: seconds that an answer was waited for."""
    found = next((text for one in _chain(error) if (text := _known(one))), "") or _by_text(str(error))
    if found == _NO_ANSWER:
        return f"no answer within {deadline:g} s" if deadline else "no answer in time"
    return found or f"failed with {type(error).__name__}"


def status_text(status: int) -> str:
    """Return ``HTTP 503 (Service Unavailable)``."""
    try:
        return f"HTTP {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return f"HTTP {status}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it was raised from or wraps, at most eight deep."""
    one: BaseException | None = error
    for _ in range(8):
        if one is None:
            return
        yield one
        inner = getattr(one, "certificate_error", None) or getattr(one, "os_error", None)
        one = inner if isinstance(inner, BaseException) and inner is not one else one.__cause__ or one.__context__


def _known(error: BaseException) -> str:
    if isinstance(getattr(error, "certificate_error", None), ssl.SSLError):
        return ""  # the error that it wraps says more
    if isinstance(error, ssl.SSLError):
        return _of_tls(error)
    if isinstance(error, socket.gaierror):
        return _NAME_NOT_FOUND if error.errno != socket.EAI_AGAIN else "the name server does not answer"
    names = [kind.__name__ for kind in type(error).__mro__]
    if isinstance(error, JSONDecodeError):
        return f"not valid JSON at line {error.lineno}"
    if found := next((_BY_NAME[name] for name in names if name in _BY_NAME), ""):
        return found
    if isinstance(error, OSError) and (words := _BY_ERRNO.get(error.errno or 0)):
        return words
    status = getattr(error, "status", None)
    return status_text(status) if isinstance(status, int) and status >= 100 else _of_model(error)


def _of_tls(error: ssl.SSLError) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return "no TLS connection"
    code = getattr(error, "verify_code", 0)
    if code in _CERTIFICATE_EXPIRED:
        return "certificate not valid at this time"
    return "certificate of another name" if code == _CERTIFICATE_OF_OTHER_NAME else _NOT_TRUSTED


def _by_text(text: str) -> str:
    lower = text.lower()
    return next((words for part, words in _BY_TEXT.items() if part in lower), "")


# -- pydantic ---------------------------------------------------------------------------------------------------------

#: By pydantic's type of an error; braces are filled in from its context.
_RULES: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "json_invalid": "is not valid JSON",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "value_error": "is refused: {error}",
    "assertion_error": "is refused: {error}",
}


def rule_text(found: Mapping[str, Any], *, whole: str = "the answer") -> str:
    """Return one of pydantic's errors as a clause: field and rule, without the value."""
    where = ".".join(str(part) for part in found.get("loc", ())) or whole
    return f"{where} {rule_words(found)}"


def rule_words(found: Mapping[str, Any]) -> str:
    """Return the rule alone: ``must be at least 1``."""
    kind = str(found.get("type", ""))
    template = _RULES.get(kind)
    if template is not None:
        return template.format_map(defaultdict(str, found.get("ctx") or {}))
    return "has another type" if kind.endswith(("_type", "_parsing")) else "is not valid"


def _of_model(error: BaseException) -> str:
    errors = getattr(error, "errors", None)
    if type(error).__name__ != "ValidationError" or not callable(errors):
        return ""
    return rule_text(errors()[0], whole="it")
