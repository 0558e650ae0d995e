"""The supervisors of the stages over HTTP: their state and their desired state, each with a short deadline."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable

import aiohttp

from llama_operator.adapters.pod_answers import (
    HEADERS,
    OPTIONS,
    REFUSAL,
    SUPERVISOR_ANSWER,
    EncodedError,
    ReadBudget,
    read_answer,
)
from llama_operator.bounds.json_text import JsonLimits, OverLimitError, check_json
from llama_operator.bounds.parse import UnreadableError, parse_json
from llama_operator.ports import Seal, SupervisorAnswer
from llama_serving.config import names
from llama_serving.config.desired import DesiredState
from llama_serving.config.error_text import error_text, status_text
from llama_serving.config.names import url_host
from llama_serving.config.state import CellState
from llama_serving.config.trust.signature import sign
from llama_serving.config.wording import clause

DEADLINE = aiohttp.ClientTimeout(total=2.0)
_REFUSAL = JsonLimits(size=REFUSAL, elements=100)
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
        self._budget = ReadBudget()
        self._clock = clock  # nanoseconds since 1970
        self._counter = 0

    async def state(self, address: str) -> SupervisorAnswer:
        """Ask for the state of the stage at this pod IP."""
        url = f"http://{url_host(address)}:{self._port}{names.ROUTE_STATE}"
        try:
            with self._budget.share() as share:
                async with self._session.get(url, timeout=DEADLINE, headers=HEADERS, **OPTIONS) as response:
                    if response.status != 200:
                        return SupervisorAnswer(None, f"its supervisor answers {status_text(response.status)}")
                    text = await read_answer(response, limit=SUPERVISOR_ANSWER.size, share=share)
                return SupervisorAnswer(parse_json(CellState, text, SUPERVISOR_ANSWER), size=len(text))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return SupervisorAnswer(None, _silent(error))
        except (OverLimitError, EncodedError) as error:
            return SupervisorAnswer(None, f"the answer of its supervisor {error}")
        except UnreadableError as error:
            return SupervisorAnswer(None, f"{_NOT_UNDERSTOOD}: {error}")

    async def accepts(self, address: str, port: int) -> bool:
        """Open a connection and close it."""
        try:
            async with asyncio.timeout(DEADLINE.total):
                _, writer = await asyncio.open_connection(address, port)
        except (TimeoutError, OSError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def put_desired_state(
        self, address: str, desired: DesiredState, *, token: str, seal: Seal | None = None
    ) -> str:
        """Send the stage at this pod IP its desired state; empty, or why it was not accepted."""
        url = f"http://{url_host(address)}:{self._port}{names.ROUTE_DESIRED}"
        headers = {**HEADERS, "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = desired.model_dump_json(exclude_defaults=True).encode()
        if seal:
            counter = self._next_counter()
            headers[names.HEADER_SIGNATURE] = sign(
                body, key=seal.key, pod=seal.pod, counter=counter, places=seal.places
            )
        try:
            async with self._session.put(url, data=body, headers=headers, timeout=DEADLINE, **OPTIONS) as response:
                if response.status < 300:
                    return ""
                return f"{status_text(response.status)}{await self._refusal(response)}"
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return _silent(error)

    async def _refusal(self, response: aiohttp.ClientResponse) -> str:
        """Return the sentence in a supervisor's refusal; whatever else answers at this address is not quoted."""
        try:
            with self._budget.share() as share:
                text = await read_answer(response, limit=_REFUSAL.size, share=share)
            check_json(text, _REFUSAL)
            return f": {clause(str(json.loads(text)['message']), 300)}"
        except (ValueError, KeyError, TypeError):
            return ""

    def _next_counter(self) -> int:
        """Return microseconds since 1970, or one more than the last: it grows over operators that follow each other."""
        self._counter = max(self._counter + 1, self._clock() // 1000)
        return self._counter


def _silent(error: Exception) -> str:
    return f"no connection to its supervisor: {error_text(error, deadline=DEADLINE.total)}"
