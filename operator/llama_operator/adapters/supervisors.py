"""The supervisors of the stages over HTTP: their state and their desired state, each with a short deadline."""

import json
import time
from collections.abc import Callable

import aiohttp
from pydantic import ValidationError

from llama_operator.ports import Seal, SupervisorAnswer
from llama_serving.config import names
from llama_serving.config.desired import DesiredState
from llama_serving.config.error_text import error_text, rule_text, status_text
from llama_serving.config.names import url_host
from llama_serving.config.state import CellState
from llama_serving.config.trust.signature import sign
from llama_serving.config.wording import clause

DEADLINE = aiohttp.ClientTimeout(total=2.0)
_NOT_UNDERSTOOD = "its supervisor sends what this operator does not understand"


class HttpSupervisors:
    """The port ``Supervisors`` on real pods."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        port: int = names.PORT_STATE,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._session = session
        self._port = port
        self._clock = clock  # nanoseconds since 1970
        self._counter = 0

    async def state(self, address: str) -> SupervisorAnswer:
        """Ask for the state of the stage at this pod IP."""
        url = f"http://{url_host(address)}:{self._port}{names.ROUTE_STATE}"
        try:
            async with self._session.get(url, timeout=DEADLINE) as response:
                text = await response.text()
                if response.status != 200:
                    return SupervisorAnswer(None, f"its supervisor answers {status_text(response.status)}")
                return SupervisorAnswer(CellState.model_validate_json(text))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return SupervisorAnswer(None, _silent(error))
        except ValidationError as error:
            return SupervisorAnswer(None, f"{_NOT_UNDERSTOOD}: {rule_text(error.errors()[0])}")
        except UnicodeDecodeError as error:
            return SupervisorAnswer(None, f"{_NOT_UNDERSTOOD}: {error_text(error)}")

    async def put_desired_state(
        self, address: str, desired: DesiredState, *, token: str, seal: Seal | None = None
    ) -> str:
        """Send the stage at this pod IP its desired state; empty, or why it was not accepted."""
        url = f"http://{url_host(address)}:{self._port}{names.ROUTE_DESIRED}"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = desired.model_dump_json(exclude_defaults=True).encode()
        if seal:
            counter = self._next_counter()
            headers[names.HEADER_SIGNATURE] = sign(
                body, key=seal.key, pod=seal.pod, counter=counter, places=seal.places
            )
        try:
            async with self._session.put(url, data=body, headers=headers, timeout=DEADLINE) as response:
                if response.status < 300:
                    return ""
                return f"{status_text(response.status)}{_said(await response.text())}"
        except (TimeoutError, aiohttp.ClientError, OSError, UnicodeDecodeError) as error:
            return _silent(error)

    def _next_counter(self) -> int:
        """Return microseconds since 1970, or one more than the last: it grows over operators that follow each other."""
        self._counter = max(self._counter + 1, self._clock() // 1000)
        return self._counter


def _silent(error: Exception) -> str:
    return f"no connection to its supervisor: {error_text(error, deadline=DEADLINE.total)}"


def _said(text: str) -> str:
    """Return the sentence in a supervisor's refusal; whatever else answers at this address is not quoted."""
    try:
        return f": {clause(str(json.loads(text)['message']), 300)}"
    except (ValueError, KeyError, TypeError):
        return ""
