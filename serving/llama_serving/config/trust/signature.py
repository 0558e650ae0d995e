"""The signature of a desired state, in the header ``names.HEADER_SIGNATURE`` of the request that brings it.

The desired state reaches the stager through the supervisor, which stands in the engine's container. The stager holds
the credentials, so it takes new sources only where the operator signed them: HMAC-SHA256 (RFC 2104) with a key that
operator and stagers have and the engine's container does not. Signed are the pod that it is for, a counter that only
grows, the places that credentials may go to, and the bytes of the desired state.

A supervisor that is older passes the header over, and a stager that is older does not ask for it.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Final

from pydantic import Field, ValidationError

from llama_serving.config.cell import Frozen

_CONTEXT: Final = b"llama-operator desired state 1\n"
#: Characters of all places: an HTTP server takes lines of 8190.
_ROOM: Final = 6000


class SignatureError(Exception):
    """A desired state that is not the operator's, or not its last one; the text is a clause."""


class Signature(Frozen):
    """What is signed beside the bytes, and the code that shows it."""

    pod: str
    counter: int = Field(ge=0, description="microseconds since 1970, or more: a later one is larger")
    places: tuple[str, ...] = Field(default=(), description="config.source.place of what credentials may be sent to")
    mac: str = Field(description="hexadecimal")


def sign(body: bytes, *, key: str, pod: str, counter: int, places: Iterable[str] = ()) -> str:
    """Return the header's value. Of more places than a header has room for, the last ones are left out."""
    kept: list[str] = []
    room = _ROOM
    for place in dict.fromkeys(places):
        room -= len(json.dumps(place)) + 1
        if room < 0:
            break
        kept.append(place)
    unsigned = Signature(pod=pod, counter=counter, places=tuple(kept), mac="")
    signature = unsigned.model_copy(update={"mac": _mac(body, unsigned, key=key)})
    return json.dumps(signature.model_dump(mode="json"), separators=(",", ":"), sort_keys=True)


def read_signature(header: str) -> Signature:
    """Return what a header says, unchecked. Raises SignatureError."""
    try:
        return Signature.model_validate_json(header)
    except ValidationError as error:
        raise SignatureError("its signature cannot be read") from error


def check_signature(signature: Signature, body: bytes, *, key: str, pod: str) -> None:
    """Check that a key's holder signed ``body`` for this pod. Raises SignatureError."""
    if not hmac.compare_digest(signature.mac.encode(), _mac(body, signature, key=key).encode()):
        raise SignatureError("its signature was made with another key, or of something else")
    if signature.pod != pod:
        raise SignatureError(f"it is for pod {signature.pod}")


def _mac(body: bytes, signature: Signature, *, key: str) -> str:
    said = json.dumps([signature.pod, signature.counter, list(signature.places)], separators=(",", ":")).encode()
    return hmac.new(key.encode(), _CONTEXT + said + b"\n" + body, hashlib.sha256).hexdigest()
