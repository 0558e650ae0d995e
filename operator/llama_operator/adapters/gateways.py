"""The gateway pods over HTTP: what they have in flight and have counted, with a short deadline."""

import logging
from typing import Final

import aiohttp

from llama_operator.adapters.pod_answers import (
    GATEWAY_ANSWER,
    HEADERS,
    OPTIONS,
    EncodedError,
    ReadBudget,
    read_answer,
)
from llama_operator.bounds.json_text import OverLimitError
from llama_operator.bounds.parse import UnreadableError, parse_json
from llama_serving.config import names
from llama_serving.config.gateway import GatewayLoad
from llama_serving.config.names import url_host

log = logging.getLogger(__name__)

DEADLINE = aiohttp.ClientTimeout(total=2.0)
_TOLD: Final = 1000  # sentences that are remembered as logged


class HttpGateways:
    """The port ``Gateways`` on real pods."""

    def __init__(self, session: aiohttp.ClientSession, *, port: int = names.PORT_GATEWAY_ADMIN) -> None:
        self._session = session
        self._port = port
        self._budget = ReadBudget()
        self._told: set[str] = set()

    async def load(self, address: str, *, start: float | None = None) -> GatewayLoad | None:
        """Ask for the load of the gateway at this pod IP; None when there is no answer, or no readable one."""
        url = f"http://{url_host(address)}:{self._port}/load"
        query = {} if start is None else {names.QUERY_EXPECTED_START: f"{start:.0f}"}
        try:
            with self._budget.share() as share:
                async with self._session.get(
                    url, params=query, timeout=DEADLINE, headers=HEADERS, **OPTIONS
                ) as response:
                    if response.status != 200:
                        return None
                    text = await read_answer(response, limit=GATEWAY_ANSWER.size, share=share)
                return parse_json(GatewayLoad, text, GATEWAY_ANSWER)
        except (TimeoutError, aiohttp.ClientError, OSError, UnreadableError):
            return None
        except (OverLimitError, EncodedError) as error:
            self._tell(f"the answer of the gateway at {address} {error}")
            return None

    def _tell(self, text: str) -> None:
        """Log it once: loads are asked for every second."""
        if text in self._told:
            return
        if len(self._told) >= _TOLD:
            self._told.clear()
        self._told.add(text)
        log.warning(text)
