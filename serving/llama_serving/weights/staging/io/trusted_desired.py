"""Which desired state a stager believes.

The supervisor passes the desired state on, and stands in the engine's container, which a hostile model may take over.
The stager has the credentials. So:

===========================================  =======================================================================
what the supervisor passes on                what the stager does
===========================================  =======================================================================
signed with the key, newer than the last     takes it; credentials go to the places that it names
anything else that names nothing new         takes it: every source in it came from the operator before
anything else                                keeps the last one, and says so
===========================================  =======================================================================

What the pod starts with is a ConfigMap, which only the operator writes; it counts as signed. The last state that was
taken lies in a volume of the stager's own, so that its counter outlives the container and a change of the key.

A pod that an older operator made has no key. Its stager takes what comes, and sends credentials only to the place of
what the pod starts with.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from llama_serving.common.message_file import MessageReader, read_bounded, replace_file
from llama_serving.config.desired import DesiredState, WeightsArtifact
from llama_serving.config.source import place
from llama_serving.config.trust.signature import Signature, SignatureError, check_signature, read_signature
from llama_serving.weights.staging.decide.trust import Trust, artifacts_of

logger = logging.getLogger("llama_serving.stager")


@dataclass(frozen=True)
class TrustPaths:
    """Where the key of the deployment and the last trusted state lie, and which pod this is."""

    key: Path
    signed: Path
    memory: Path
    pod: str

    def read_key(self) -> str | None:
        """Return the key; None where the pod was made without one, empty where it cannot be read now."""
        if not self.key.parent.is_dir():
            return None
        try:
            return self.key.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            logger.error("the key %s cannot be read: %s", self.key, error)
            return ""


@dataclass(frozen=True)
class _Signed:
    """A state that the operator signed, and the bytes that it signed."""

    signature: Signature
    body: bytes
    state: DesiredState


class TrustedDesired:
    """The desired state that the stager works on. ``trust`` says what may be sent where, and what was not taken."""

    def __init__(self, desired: Path, paths: TrustPaths) -> None:
        self._path = desired
        self._plain = MessageReader(desired, DesiredState)
        self._paths = paths
        self._looked: tuple[int, int, int, str] | None = None  # time, size and inode of the signed file, and the key
        self._complaint = ""  # why that one was not taken
        self._last = self._remembered()
        self.trust = Trust()

    def read(self, configured: WeightsArtifact | None) -> DesiredState | None:
        """Return the state; None where there is none that is believed. Blocks."""
        key = self._paths.read_key()
        plain = self._plain.read()
        own = (configured,) if configured else ()
        if key is None:
            self.trust = Trust(places=frozenset({place(configured.source)}) if configured else None)
            return plain
        self._look(key)
        signed = self._last
        known = (*own, *(artifacts_of(signed.state) if signed else ()))
        places = frozenset({*(signed.signature.places if signed else ()), *(place(one.source) for one in own)})
        if plain and self._is_overtaken():
            plain = None
        refused = tuple(one for one in artifacts_of(plain) if one not in known) if plain else ()
        self.trust = Trust(places, refused, self._complaint or "it carries no signature")
        # Of a plain state that names nothing new, order and what is left out still count.
        return plain if plain and not refused else signed.state if signed else None

    def _is_overtaken(self) -> bool:
        """Return whether a signed state was taken that is newer than the plain one: the supervisor writes it first."""
        with suppress(OSError):
            return bool(self._looked and not self._complaint and self._path.lstat().st_mtime_ns < self._looked[0])
        return False

    def _look(self, key: str) -> None:
        """Take the signed state where it is one, and a later one than the last."""
        try:
            status = self._paths.signed.lstat()
            looked = (status.st_mtime_ns, status.st_size, status.st_ino, key)
            if looked == self._looked:
                return
            text = read_bounded(self._paths.signed)
            found = self._checked(text, key)
        except FileNotFoundError:
            self._looked, self._complaint = None, ""
        except OSError as error:
            self._complain("its file cannot be read", error)
        except SignatureError as error:
            self._looked = looked
            self._complain(str(error), error)
        else:
            self._looked, self._complaint = looked, ""
            if found != self._last:
                self._last = found
                self._remember(text)

    def _complain(self, complaint: str, error: Exception) -> None:
        if complaint != self._complaint:
            logger.warning("the desired state is not taken: %s", error)
        self._complaint = complaint

    def _checked(self, text: bytes, key: str) -> _Signed:
        header, _, body = text.partition(b"\n")
        signature = read_signature(header.decode("utf-8", "replace"))
        if not key:
            raise SignatureError("the key of this pod cannot be read")
        last = self._last
        if last is not None and (signature, body) == (last.signature, last.body):
            return last  # again, maybe after a change of the key
        check_signature(signature, body, key=key, pod=self._paths.pod)
        if last is not None and signature.counter <= last.signature.counter:
            raise SignatureError("a later one was taken before it")
        return _Signed(signature, body, _state(body))

    def _remembered(self) -> _Signed | None:
        try:
            header, _, body = read_bounded(self._paths.memory).partition(b"\n")
            return _Signed(read_signature(header.decode("utf-8", "replace")), body, _state(body))
        except FileNotFoundError:
            return None
        except (OSError, SignatureError) as error:
            logger.warning("%s cannot be read: %s", self._paths.memory, error)
            return None

    def _remember(self, text: bytes) -> None:
        try:
            replace_file(self._paths.memory, text)
        except OSError as error:
            logger.error("%s cannot be written: %s", self._paths.memory, error)


def _state(body: bytes) -> DesiredState:
    try:
        return DesiredState.model_validate_json(body)
    except ValidationError as error:
        raise SignatureError("it is not valid") from error
