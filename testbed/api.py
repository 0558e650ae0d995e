"""The few requests that the bed itself makes to its API server, without starting kubectl (0.2 s each)."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import BedError

_TIMEOUT_S = 10.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Api:
    """An API server, its authority's certificate and a token of the administrator."""

    url: str
    authority: Path
    token: str

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:
        """Make one request; None where the object does not exist.

        Raises:
            OSError: the server cannot be reached or refused (urllib.error.HTTPError).
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        context = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                error.msg = f"{error.msg}: {error.read().decode(errors='replace')[:500]}"
                raise
        return json.loads(text) if text.startswith(b"{") else text.decode()

    def apply(self, path: str, manifest: object) -> Any:
        """Server-side apply of one object at its path."""
        query = f"{path}?fieldManager=llama-testbed&force=true"
        return self.request("PATCH", query, manifest, content_type="application/apply-patch+yaml")

    def ready(self) -> str:
        """Return an empty text when the server is ready, else why not."""
        try:
            return "" if self.request("GET", "/readyz") == "ok" else "not ready"
        except OSError as error:
            return str(error)


def wait(what: str, check: Callable[[], str], *, deadline_s: float) -> None:
    """Ask until `check` returns an empty text.

    Args:
        what: what is waited for, for the message.
        check: returns what is still missing.
        deadline_s: seconds to wait at most.

    Raises:
        BedError: the deadline passed; the message says what was missing last.
    """
    end = time.monotonic() + deadline_s
    while missing := check():
        if time.monotonic() > end:
            raise BedError(f"{what} after {deadline_s:.0f} s: {missing}")
        time.sleep(_POLL_S)
