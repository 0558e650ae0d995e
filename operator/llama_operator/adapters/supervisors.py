"""The supervisors of the stages over HTTP: their state and their desired state, each with a short deadline."""

import json

import aiohttp
from pydantic import ValidationError

from llama_operator.adapters.addresses import url_host
from llama_operator.ports import SupervisorAnswer
from llama_serving.config import names
from llama_serving.config.desired import DesiredState
from llama_serving.config.error_text import error_text, rule_text, status_text
from llama_serving.config.state import CellState
from llama_serving.config.wording import clause

DEADLINE = aiohttp.ClientTimeout(total=2.0)
_NOT_UNDERSTOOD = "its supervisor sends what this operator does not understand"


class HttpSupervisors:
    """The port ``Supervisors`` on real pods."""

    def __init__(self, session: aiohttp.ClientSession, *, port: int = names.PORT_STATE) -> None:
        self._session = session
        self._port = port

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
            return SupervisorAnswer(None, f"its supervisor does not respond: {str(error) or type(error).__name__}")
        except ValidationError as error:
            return SupervisorAnswer(
                None, f"its supervisor sends what this operator does not understand: {_first(error)}"
            )
        except UnicodeDecodeError:
            return SupervisorAnswer(None, "its supervisor sends what this operator does not understand: no UTF-8")

    async def put_desired_state(self, address: str, desired: DesiredState, *, token: str) -> str:
        """Send the stage at this pod IP its desired state; empty, or why it was not accepted."""
        url = f"http://{url_host(address)}:{self._port}{names.ROUTE_WISH}"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = desired.model_dump_json()
        try:
            async with self._session.put(url, data=body, headers=headers, timeout=DEADLINE) as response:
                if response.status < 300:
                    return ""
                return f"{status_text(response.status)}{_said(await response.text())}"
        except (TimeoutError, aiohttp.ClientError, OSError, UnicodeDecodeError) as error:
            return f"its supervisor does not respond: {str(error) or type(error).__name__}"


def _first(error: ValidationError) -> str:
    """Name field and rule, without the value: the status would change with it at every pass."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'the answer'}: {first['msg']}"
