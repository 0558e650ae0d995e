"""The key between gateways and engines: a file of a Secret that both mount, so that nobody else is answered.

It is none of Ray's token: who has that may run code in a cell, and a gateway must not. A pod without the file belongs
to no operator that makes one (``python -m llama_serving.gateway --static``, a test): gateways send no key there, and
engines ask for none.
"""

import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from llama_serving.config import names

logger = logging.getLogger(__name__)

#: Seconds between two looks at the file, which the kubelet replaces when the Secret is made anew.
LOOK_PERIOD: Final = 1.0
_LONGEST: Final = 1024  # bytes of a key; the operator's has 64


class EngineKey:
    """The key in a file, as it was a second ago at most."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._read_at = float("-inf")
        self._asked = False  # there is, or was, a file
        self._key = b""

    @property
    def value(self) -> bytes:
        """The key; empty where there is none. One that cannot be read any more is the one before."""
        self._look()
        return self._key

    def header_line(self) -> bytes:
        """Return the line of a request's head that carries the key, with its end; empty where there is no key."""
        key = self.value
        return b"%s: %s\r\n" % (names.HEADER_ENGINE_KEY.encode(), key) if key else b""

    def headers(self) -> dict[str, str]:
        """Return the same as headers for a client."""
        key = self.value
        return {names.HEADER_ENGINE_KEY: key.decode("ascii")} if key else {}

    def is_right(self, given: bytes) -> bool:
        """Return whether a request may pass: it carries the key, or no file asks for one.

        A file that cannot be read, or holds no key, lets nobody pass. Takes the same time for any key of its length.
        """
        key = self.value
        return not self._asked or (key != b"" and hmac.compare_digest(given, key))

    def _look(self) -> None:
        if self._clock() - self._read_at < LOOK_PERIOD:
            return
        self._read_at = self._clock()
        try:
            with self._path.open("rb") as file:
                key = file.read(_LONGEST).strip()
        except FileNotFoundError:
            return
        except OSError as error:
            logger.warning("cannot read the engine's key: %s", error)
            key = b""
        self._asked = True
        if key.isalnum():  # anything else would be more than one header
            self._key = key
