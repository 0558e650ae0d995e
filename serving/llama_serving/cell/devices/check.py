"""May the engine have the devices of this stage? Asked before Ray starts, at growing pauses while it may not."""

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from pydantic import ValidationError

from llama_serving.cell.devices import nvml
from llama_serving.cell.policy.devices import CallFailure, DeviceNeeds, DriverReading, device_fault
from llama_serving.cell.policy.state_machine import CellFault
from llama_serving.cell.supervisor.ports import Clock
from llama_serving.config.backoff import doubling_pause
from llama_serving.config.wording import clause

DEADLINE: Final = 15.0  # seconds for one reading; a healthy driver takes a tenth of one, a starved node a few
KILLED_WITHIN: Final = 1.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between two readings that find something
ACCEPTED_SECONDS: Final = 10.0  # how long a reading that finds nothing is believed
_LIBRARY: Final = "the management library"
_SHOWN: Final = 200  # characters of what a reading that failed wrote


class DeviceCheck:
    """Judges the devices; a fault that goes is seen without a restart."""

    def __init__(
        self, needs: DeviceNeeds | None, *, read: Callable[[], Awaitable[DriverReading]], clock: Clock
    ) -> None:
        self._needs = needs
        self._read = read
        self._clock = clock
        self._fault: CellFault | None = None
        self._good_until = -math.inf
        self._found = 0  # readings in a row that found something

    async def fault(self) -> CellFault | None:
        """Return what stands against the devices; None where nothing does, or where the stage computes on CPU."""
        if self._needs is not None and self._clock() >= self._good_until:
            self._fault = device_fault(await self._read(), self._needs)
            self._found = self._found + 1 if self._fault else 0
            pause = doubling_pause(self._found, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
            self._good_until = self._clock() + (pause if self._fault else ACCEPTED_SECONDS)
        return self._fault


#: No site-packages and no variables of Python: the module needs neither, and starts in 20 ms.
_COMMAND: Final = (sys.executable, "-I", "-S", nvml.__file__)


class DriverReader:
    """Reads the driver in a child process. One that hangs in a call is waited for no longer, and not started twice."""

    def __init__(self, command: Sequence[str] = _COMMAND, *, deadline: float = DEADLINE) -> None:
        self._command = tuple(command)
        self._deadline = deadline  # seconds
        self._hanging: asyncio.subprocess.Process | None = None

    async def __call__(self) -> DriverReading:
        """Return what was read; a child that fails is a part of it."""
        if self._hanging is not None and self._hanging.returncode is None:
            return _failed(-1, "an earlier call still hangs in the kernel")
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*self._command, stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(self._deadline):
                said, errors = await child.communicate()
        except TimeoutError:
            self._hanging = None if await _killed(child) else child
            return _failed(-1, f"within {self._deadline:.0f} s")
        return _reading(said, errors, code=child.returncode or 0)


async def _killed(child: asyncio.subprocess.Process) -> bool:
    """Return whether a child ends when it is killed: in a call of a driver that is stuck it does not."""
    child.kill()
    try:
        async with asyncio.timeout(KILLED_WITHIN):
            await child.communicate()
    except TimeoutError:
        return False
    return True


def _reading(said: bytes, errors: bytes, *, code: int) -> DriverReading:
    try:
        return DriverReading.model_validate_json(said)
    except ValidationError:
        how = f"it ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
        words = clause(errors.decode(errors="replace"), _SHOWN)
        return _failed(abs(code), ": ".join(part for part in (how, words) if part))


def _failed(code: int, text: str) -> DriverReading:
    return DriverReading(failed=CallFailure(call=_LIBRARY, code=code, text=text))
