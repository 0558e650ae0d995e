"""The gateway pods over HTTP: what they have in flight and have counted, with a short deadline."""

import aiohttp
from pydantic import ValidationError

from llama_serving.config import names
from llama_serving.config.gateway import GatewayLoad
from llama_serving.config.names import url_host

DEADLINE = aiohttp.ClientTimeout(total=2.0)


class HttpGateways:
    """The port ``Gateways`` on real pods."""

    def __init__(self, session: aiohttp.ClientSession, *, port: int = names.PORT_GATEWAY_ADMIN) -> None:
        self._session = session
        self._port = port

    async def load(self, address: str, *, start: float | None = None) -> GatewayLoad | None:
        """Ask for the load of the gateway at this pod IP; None when there is no answer, or no readable one."""
        url = f"http://{url_host(address)}:{self._port}/load"
        query = {} if start is None else {names.QUERY_EXPECTED_START: f"{start:.0f}"}
        try:
            async with self._session.get(url, params=query, timeout=DEADLINE) as response:
                if response.status != 200:
                    return None
                return GatewayLoad.model_validate_json(await response.text())
        except (TimeoutError, aiohttp.ClientError, OSError, ValidationError, UnicodeDecodeError):
            return None
