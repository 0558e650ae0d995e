"""HTTP to the cluster, the replica and the other supervisors. One place knows their routes.

Every call has a deadline. "Does not answer" is an answer here (None): while a cell starts it is the normal one.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from pydantic import ValidationError

from llama_serving.cell.policy.leader import AppView
from llama_serving.cell.shared.config_errors import ConfigRefusedError
from llama_serving.cell.shared.engine_args import STAGE_LABEL
from llama_serving.cell.shared.engine_errors import last_error
from llama_serving.cell.shared.engine_metrics import EngineReading
from llama_serving.cell.shared.last_deployed import write_last_deployed
from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.cell.shared.serve_config import APP_NAME
from llama_serving.cell.supervisor.ports import StageUnreachableError
from llama_serving.cell.supervisor.verification import DEADLINE, EngineError, EngineRefusedError
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.error_text import error_text
from llama_serving.config.names import url_host
from llama_serving.config.state import CellState
from llama_serving.config.wording import clause

logger = logging.getLogger(__name__)

_LARGEST_METRICS: Final = 32 << 20  # bytes; a megabyte or less with one model
_SHOWN: Final = 300  # characters of what the engine says in a refusal
_QUICK: Final = aiohttp.ClientTimeout(total=3)
_DEPLOY: Final = aiohttp.ClientTimeout(total=120)  # the first call starts Serve's controller
_MEASURE: Final = aiohttp.ClientTimeout(total=DEADLINE)
_TOKEN: Final = aiohttp.ClientTimeout(total=120)
_FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError)
_REFUSED: Final = frozenset({400, 422})  # another try would get the same answer
_GAVE_UP: Final = frozenset({"DEPLOY_FAILED"})


class RayClient:
    """Ray's and Serve's REST API on the leader's dashboard port, with the group's token."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        host: str,
        token: Callable[[], str],
        record: Callable[[WeightsRef], None] = write_last_deployed,
    ) -> None:
        self._session = session
        self._host = host
        self._token = token
        self._record = record

    async def nodes(self, host: str) -> Mapping[str, int] | None:
        """Return the stage of each node that is alive, by the label of the node."""
        try:
            body = await self._get(f"http://{url_host(host)}:{names.PORT_RAY_DASHBOARD}/api/v0/nodes?detail=1")
            nodes = body["data"]["result"]["result"]
            alive = {node["node_id"]: node["labels"] or {} for node in nodes if node["state"] == "ALIVE"}
            return {node: int(labels[STAGE_LABEL]) for node, labels in alive.items() if STAGE_LABEL in labels}
        except _FAILURES as error:
            logger.debug("the cluster at %s does not list its nodes: %r", host, error)
            return None

    async def deploy(self, document: Mapping[str, Any], weights: WeightsRef) -> bool:
        """Hand Serve the app; a replica that it starts later begins with ``weights``."""
        try:
            await asyncio.to_thread(self._record, weights)
            async with self._session.put(
                self._applications(), json=document, headers=self._headers(), timeout=_DEPLOY
            ) as answer:
                if answer.status != 200:
                    logger.warning("Serve refused the app: %s %s", answer.status, (await answer.text())[-2000:])
                return answer.status == 200
        except _FAILURES as error:
            logger.warning("Serve did not accept the app: %r", error)
            return False

    async def app(self) -> AppView | None:
        """Return the status of the app in Serve."""
        try:
            apps = (await self._get(self._applications()))["applications"]
        except _FAILURES as error:
            logger.debug("Serve does not answer: %r", error)
            return None
        if APP_NAME not in apps:
            return AppView(failed=False, status="NOT_DEPLOYED")
        return _app_view(apps[APP_NAME])

    def _applications(self) -> str:
        return f"http://{url_host(self._host)}:{names.PORT_RAY_DASHBOARD}/api/serve/applications/"

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token()}"}

    async def _get(self, url: str) -> Any:
        async with self._session.get(url, headers=self._headers(), timeout=_QUICK) as answer:
            answer.raise_for_status()
            return await answer.json()


def _app_view(details: Mapping[str, Any]) -> AppView:
    status = str(details.get("status", ""))
    messages = [str(details.get("message") or "")]
    messages += [str(deployment.get("message") or "") for deployment in details.get("deployments", {}).values()]
    text = "\n".join(messages)
    return AppView(
        failed=status in _GAVE_UP, status=status, error=last_error(text), refused=ConfigRefusedError.__name__ in text
    )


class EngineClient:
    """The replica's routes on the engine's port."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        host: str,
        served_name: str,
        headers: Callable[[], dict[str, str]] = dict,
    ) -> None:
        self._session = session
        self._headers = headers  # with the engine's key, where it asks for one
        self._base = f"http://{url_host(host)}:{names.PORT_ENGINE}"
        self._served_name = served_name

    async def state(self) -> ReplicaState | None:
        """Return the replica's state."""
        try:
            async with self._session.get(self._base + names.ROUTE_STATE, timeout=_QUICK, **self._options()) as answer:
                answer.raise_for_status()
                return ReplicaState.model_validate_json(await answer.read())
        except _FAILURES as error:
            logger.debug("the replica does not answer: %r", error)
            return None

    async def metrics(self) -> EngineReading:
        """Return the engine's own metrics."""
        try:
            async with self._session.get(
                f"{self._base}{names.ROUTE_METRICS}", timeout=_QUICK, **self._options()
            ) as answer:
                answer.raise_for_status()
                text = await answer.content.read(_LARGEST_METRICS)
                while not answer.content.at_eof() and len(text) < _LARGEST_METRICS:
                    text += await answer.content.read(_LARGEST_METRICS - len(text))
                return EngineReading(text if answer.content.at_eof() else None)
        except _FAILURES as error:
            logger.debug("the engine does not show its metrics: %r", error)
            return EngineReading(None)

    async def ask(self, route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call one of the OpenAI routes.

        Raises:
            EngineRefusedError: the engine says that this request is not one for it.
            EngineError: no answer, or another refusal.
        """
        try:
            async with self._session.post(
                self._base + route, json=dict(body), timeout=_MEASURE, **self._options()
            ) as answer:
                if answer.status != 200:
                    kind = EngineRefusedError if answer.status in _REFUSED else EngineError
                    said = _said(await answer.text())
                    raise kind(f"the engine refused {route} with status {answer.status}: {said}")
                return dict(await answer.json())
        except _FAILURES as error:
            raise EngineError(f"the engine did not answer {route}: {error_text(error)}") from error

    async def first_token(self) -> bool:
        """Request one token of a completion through every stage."""
        body = {"model": self._served_name, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
        try:
            async with self._session.post(
                f"{self._base}/v1/completions", json=body, timeout=_TOKEN, **self._options()
            ) as answer:
                if answer.status != 200:
                    logger.warning("the engine refused its first request: %s", (await answer.text())[-2000:])
                    return False
                return bool((await answer.json())["choices"])
        except _FAILURES as error:
            logger.warning("the engine did not answer its first request: %r", error)
            return False

    def _options(self) -> dict[str, Any]:
        headers = self._headers()
        return {"headers": headers} if headers else {}


def _said(text: str) -> str:
    """Return the message in an error of the engine, or the beginning of another text."""
    try:
        return clause(str(json.loads(text)["error"]["message"])[:_SHOWN])
    except (ValueError, KeyError, TypeError):
        return text[:_SHOWN]


class StageClient:
    """Supervisors of other stages."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def state(self, host: str) -> tuple[str, CellState]:
        """Return address and state of the stage behind a DNS name."""
        try:
            address = await _resolve(host)
            url = f"http://{url_host(address)}:{names.PORT_STATE}{names.ROUTE_STATE}"
            async with self._session.get(url, timeout=_QUICK) as answer:
                answer.raise_for_status()
                return address, CellState.model_validate_json(await answer.read())
        except socket.gaierror as error:
            raise StageUnreachableError("its name does not resolve yet") from error
        except TimeoutError as error:
            raise StageUnreachableError("no answer in time") from error
        except (aiohttp.ClientError, OSError, ValidationError) as error:
            raise StageUnreachableError(error_text(error)) from error

    async def last_state(self, host: str) -> CellState | None:
        """Return the state; None where the stage does not answer."""
        try:
            return (await self.state(host))[1]
        except StageUnreachableError as error:
            logger.debug("%s: %s", host, error)
            return None


async def _resolve(host: str) -> str:
    """Return the first address. Ray is given an address, never a name: it would resolve it again in each process."""
    async with asyncio.timeout(3):
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return str(found[0][4][0])
