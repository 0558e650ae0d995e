"""Reads a certificate and its key from a mounted Secret, and makes of them what a handshake needs.

Both files are read from the folder that the kubelet's link ``..data`` names at that moment, so that a certificate never
meets the key of another version. They are bounded before they are read, and given to OpenSSL as they were read.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llama_serving.config.names import TLS_CERTIFICATE, TLS_KEY
from llama_serving.gateway.tls.validity import not_after

#: Bytes of a certificate with its chain, and of a key.
LONGEST: Final = 256 << 10
_DATA: Final = "..data"
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


class PairError(Exception):
    """Certificate and key cannot be used; the message is a clause that says why, and shows nothing of the key."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, ready to be shown. ``expires``: Unix time in seconds."""

    context: ssl.SSLContext
    expires: float


def server_context() -> ssl.SSLContext:
    """Return a context of a server that has no certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def read_pair(folder: Path) -> Pair:
    """Read both files and check that they belong together. Raises PairError."""
    files = folder / _DATA
    here = files.resolve() if files.is_dir() else folder
    certificate, key = _read(here / TLS_CERTIFICATE), _read(here / TLS_KEY)
    context = server_context()
    try:
        with _file(certificate) as one, _file(key) as other:
            context.load_cert_chain(one, other, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise PairError(_why(error)) from None
    return Pair(context, _expires(certificate))


def stamp_of(folder: Path) -> tuple[object, ...]:
    """Return what changes when the files do: one call of stat for each."""
    found: list[object] = []
    for name in (_DATA, TLS_CERTIFICATE, TLS_KEY):
        try:
            seen = (folder / name).stat()
        except OSError as error:
            found.append(error.errno)
        else:
            found.append((seen.st_mtime_ns, seen.st_ino, seen.st_size))
    return tuple(found)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1)
    except FileNotFoundError:
        raise PairError(f"it has no {path.name}") from None
    except OSError as error:
        raise PairError(f"its {path.name} cannot be read: {error.strerror}") from None
    if len(text) > LONGEST:
        raise PairError(f"its {path.name} has more than {LONGEST} bytes")
    if not text.strip():
        raise PairError(f"its {path.name} is empty")
    return text


@contextmanager
def _file(text: bytes) -> Iterator[str]:
    """Give OpenSSL a path to these bytes: it loads from paths only, and a key does not go onto a disk."""
    number = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(text)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


def _no_password() -> str:
    raise ValueError("its tls.key is encrypted, and nobody is there to type a password")


def _why(error: ssl.SSLError | ValueError) -> str:
    """Say what OpenSSL has against the pair, in words of the field."""
    reason = getattr(error, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return "its tls.key does not belong to its tls.crt"
    if not isinstance(error, ssl.SSLError):
        return str(error)[:200]
    return f"its tls.crt or tls.key is no PEM that can be used ({reason or 'PEM'})"


def _expires(certificate: bytes) -> float:
    text = certificate.decode("ascii", "replace")
    begin, end = text.find(_BEGIN), text.find(_END)
    try:
        return not_after(ssl.PEM_cert_to_DER_cert(text[begin : end + len(_END)]))
    except (ValueError, IndexError):
        raise PairError("its tls.crt does not say until when it is valid") from None
