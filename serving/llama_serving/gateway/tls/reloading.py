"""The certificate that a gateway shows: the last good one that was mounted, taken without a restart.

Every handshake asks which context to go on with (the server name callback, which OpenSSL calls for clients that name
none too), so a connection that is open keeps its certificate and the next one gets the new. What cannot be used, or is
over while the one before is not, is not taken; /load and the log say why.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from llama_serving.config.gateway import CertificateState
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.tls.pair import Pair, PairError, read_pair, server_context, stamp_of

#: Seconds between two looks, each three calls of stat. The kubelet changes a mounted Secret within about a minute.
PERIOD: Final = 1.0
#: Looks after which files that did not change are read again: one that was read while it was written is mended.
_AGAIN: Final = 30


class ReloadingCertificate:
    """Watches the folder with certificate and key. ``context`` is what a listener is made with."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._stamp: tuple[object, ...] | None = None
        self._pair: Pair | None = None
        self._fault = ""
        self._looks = 0
        self.context = server_context()
        self.context.sni_callback = self._choose

    @property
    def ready(self) -> bool:
        """Whether there is a certificate to show."""
        return self._pair is not None

    def state(self) -> CertificateState:
        """Return what the operator is told."""
        expires = self._pair.expires if self._pair else None
        fault = self._fault
        if not fault and expires is not None and expires <= self._clock():
            fault = f"its certificate is over since {_date(expires)}"
        return CertificateState(expires=expires, fault=fault[:512])

    async def run(self, period: float = PERIOD) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(period)
            self.look()

    def look(self) -> None:
        """Take what is mounted, if it is something else than before and can be used."""
        self._looks += 1
        stamp = stamp_of(self._folder)
        if stamp == self._stamp and not (self._fault and self._looks % _AGAIN == 0):
            return
        self._stamp = stamp
        try:
            found = read_pair(self._folder)
            self._check(found)
        except PairError as error:
            self._say(str(error))
            return
        self._pair, self._fault = found, ""
        LOGGER.info("certificate read", extra=fields(expires=_date(found.expires)))

    def _check(self, found: Pair) -> None:
        now = self._clock()
        if found.expires <= now and self._pair is not None and self._pair.expires > now:
            raise PairError(f"its certificate is over since {_date(found.expires)}")

    def _say(self, fault: str) -> None:
        if fault != self._fault:
            LOGGER.error("certificate cannot be used, keeping the last good one", extra=fields(reason=fault))
        self._fault = fault

    def _choose(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> int | None:
        if self._pair is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._pair.context
        return None


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
