"""The replica's routes for LoRA adapters, and golden prompts in the supervisor's name, with the group's token."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast

import aiohttp
from pydantic import BaseModel

from llama_serving.cell.shared.adapters.engine_adapter import (
    ROUTE_ADAPTERS,
    ROUTE_LOAD,
    ROUTE_UNLOAD,
    AdapterAnswer,
    AdapterTable,
    EngineAdapter,
)
from llama_serving.cell.supervisor.clients import EngineClient
from llama_serving.cell.supervisor.verification import EngineError
from llama_serving.config import names
from llama_serving.config.error_text import error_text
from llama_serving.config.names import url_host

_LOAD: Final = aiohttp.ClientTimeout(total=300)  # reading gigabytes over all ranks, beside requests
_FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


class AdapterApi(Protocol):
    """What the keeper of adapters needs of the replica. Each call raises EngineError where it gets no answer."""

    async def tell(self, table: AdapterTable) -> None:
        """Let names mean what the table says."""

    async def load(self, adapter: EngineAdapter) -> str:
        """Load on all ranks; return why it could not be, empty where it could."""

    async def unload(self, adapter: EngineAdapter) -> str:
        """Forget on all ranks; return why not, empty where it is gone."""

    async def ask(self, route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call one of the OpenAI routes; ``model`` may be an adapter's internal name."""


class _TokenSession:
    """A session whose requests carry the token, read anew each time."""

    def __init__(self, session: aiohttp.ClientSession, token: Callable[[], str]) -> None:
        self._session = session
        self._token = token

    def request(self, method: str, url: str, **options: Any) -> Any:
        return self._session.request(method, url, headers={"Authorization": f"Bearer {self._token()}"}, **options)

    def post(self, url: str, **options: Any) -> Any:
        return self.request("POST", url, **options)


class AdapterClient:
    """The replica on the engine's port."""

    def __init__(self, session: aiohttp.ClientSession, *, host: str, token: Callable[[], str]) -> None:
        self._session = _TokenSession(session, token)
        self._base = f"http://{url_host(host)}:{names.PORT_ENGINE}"
        self._engine = EngineClient(cast("aiohttp.ClientSession", self._session), host=host, served_name="")

    async def tell(self, table: AdapterTable) -> None:
        """Let names mean what the table says."""
        await self._send("PUT", ROUTE_ADAPTERS, table)

    async def load(self, adapter: EngineAdapter) -> str:
        """Load on all ranks."""
        return (await self._send("POST", ROUTE_LOAD, adapter)).error

    async def unload(self, adapter: EngineAdapter) -> str:
        """Forget on all ranks."""
        return (await self._send("POST", ROUTE_UNLOAD, adapter)).error

    async def ask(self, route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call one of the OpenAI routes."""
        return await self._engine.ask(route, body)

    async def _send(self, method: str, route: str, message: BaseModel) -> AdapterAnswer:
        body = message.model_dump_json().encode()
        try:
            async with self._session.request(method, self._base + route, data=body, timeout=_LOAD) as answer:
                if answer.status != 200:
                    raise EngineError(f"the replica refused {route} with status {answer.status}")
                return AdapterAnswer.model_validate_json(await answer.read())
        except _FAILURES as error:
            raise EngineError(f"the replica did not answer {route}: {error_text(error)}") from error
