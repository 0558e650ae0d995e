"""The supervisors of the stages over HTTP: what they say, and what they are told; each with a short deadline."""

import aiohttp
from pydantic import ValidationError

from llama_operator.ports import SupervisorAnswer
from llama_serving.config import names
from llama_serving.config.desired import DesiredState
from llama_serving.config.state import CellState

DEADLINE = aiohttp.ClientTimeout(total=2.0)


class HttpSupervisors:
    """The port ``Cells`` on real pods."""

    def __init__(self, session: aiohttp.ClientSession, *, port: int = names.PORT_STATE) -> None:
        self._session = session
        self._port = port

    async def state(self, address: str) -> SupervisorAnswer:
        """The state of the stage at this pod IP, or why there is none."""
        url = f"http://{host_of(address)}:{self._port}{names.ROUTE_STATE}"
        try:
            async with self._session.get(url, timeout=DEADLINE) as response:
                text = await response.text()
                if response.status != 200:
                    return SupervisorAnswer(None, f"HTTP {response.status} from its supervisor")
                return SupervisorAnswer(CellState.model_validate_json(text))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return SupervisorAnswer(None, f"its supervisor is not heard: {str(error) or type(error).__name__}")
        except ValidationError as error:
            return SupervisorAnswer(
                None, f"its supervisor says what this operator does not understand: {_first(error)}"
            )
        except UnicodeDecodeError:
            return SupervisorAnswer(None, "its supervisor says what this operator does not understand: no UTF-8")

    async def wish(self, address: str, wish: DesiredState, token: str) -> str:
        """Tell the stage at this pod IP; empty, or why it did not take it."""
        url = f"http://{host_of(address)}:{self._port}{names.ROUTE_DESIRED}"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = wish.model_dump_json(exclude_defaults=True)
        try:
            async with self._session.put(url, data=body, headers=headers, timeout=DEADLINE) as response:
                if response.status < 300:
                    return ""
                return f"HTTP {response.status}: {' '.join((await response.text()).split())[:300]}"
        except (TimeoutError, aiohttp.ClientError, OSError, UnicodeDecodeError) as error:
            return f"its supervisor is not heard: {str(error) or type(error).__name__}"


def _first(error: ValidationError) -> str:
    """Field and rule, without the value: the status would change with it at every pass."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'the answer'}: {first['msg']}"


def host_of(address: str) -> str:
    """An IPv6 address needs brackets in a URL."""
    return f"[{address}]" if ":" in address else address
