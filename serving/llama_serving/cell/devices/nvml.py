"""Reads driver and devices through NVIDIA's management library; this file is run by ``check``.

It prints a ``DriverReading`` as JSON. It is a process of its own: a driver that hangs or crashes in a call takes no
supervisor with it, and each reading loads the library anew. Only the standard library is imported; no torch, whose
import takes seconds, fails without a driver and would hold a CUDA context.

Layouts and numbers are those of ``nvml.h`` (CUDA 13).
"""

import json
import sys
from contextlib import suppress
from ctypes import CDLL, Structure, Union, byref, c_char_p, c_int, c_int64, c_uint, c_ulonglong, c_void_p, sizeof
from ctypes import create_string_buffer as text_buffer
from typing import Any, Final

LIBRARY: Final = "libnvidia-ml.so.1"

SUCCESS: Final = 0
NOT_SUPPORTED: Final = 3
NOT_FOUND: Final = 6
INSUFFICIENT_SIZE: Final = 7
FUNCTION_NOT_FOUND: Final = 13
#: What a device or an older driver cannot tell speaks against neither; neither does what a container may not ask.
_UNKNOWN: Final = frozenset({NOT_SUPPORTED, 4, FUNCTION_NOT_FOUND, 22, 25, 26})

_TEXT: Final = 96  # bytes, the longest text of the library
_UNCORRECTED: Final = 1  # nvmlMemoryErrorType_t
_VOLATILE: Final = 0  # nvmlEccCounterType_t: since the driver was loaded
_RECOVERY_FIELD: Final = 230  # NVML_FI_DEV_GET_GPU_RECOVERY_ACTION


class _MemoryInfo(Structure):
    _fields_ = (("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong))


class _MemoryV2(Structure):
    _fields_ = (
        ("version", c_uint),
        ("total", c_ulonglong),
        ("reserved", c_ulonglong),  # by the driver, and never free
        ("free", c_ulonglong),
        ("used", c_ulonglong),
    )


class _Value(Union):
    _fields_ = (("ui", c_uint), ("ull", c_ulonglong))


class _Field(Structure):
    _fields_ = (
        ("field", c_uint),
        ("scope", c_uint),
        ("timestamp", c_int64),
        ("latency", c_int64),
        ("kind", c_uint),
        ("code", c_uint),
        ("value", _Value),
    )


class NvmlError(Exception):
    """A call that failed with a code of the library."""

    def __init__(self, call: str, code: int, text: str) -> None:
        super().__init__(call, code, text)
        self.failure = {"call": call, "code": code, "text": text}


class Nvml:
    """The library's functions, of which older drivers lack some."""

    def __init__(self, path: str = LIBRARY) -> None:
        self._library = CDLL(path)

    def call(self, name: str, *arguments: object) -> None:
        """Call a function. Raises NvmlError."""
        code = self._code(name, *arguments)
        if code != SUCCESS:
            raise NvmlError(name, code, self._words(code))

    def ask(self, name: str, *arguments: object) -> bool:
        """Call a function that not every device or driver has; return whether it answered. Raises NvmlError."""
        code = self._code(name, *arguments)
        if code not in (SUCCESS, *_UNKNOWN):
            raise NvmlError(name, code, self._words(code))
        return code == SUCCESS

    def text(self, name: str, *arguments: object) -> str:
        """Call a function that fills in a text. Raises NvmlError."""
        buffer = text_buffer(_TEXT)
        self.call(name, *arguments, buffer, c_uint(_TEXT))
        return buffer.value.decode(errors="replace")

    def count(self, name: str, *arguments: object) -> int:
        """Call a function that fills in a number; 0 where nobody knows it. Raises NvmlError."""
        number = c_uint()
        return number.value if self.ask(name, *arguments, byref(number)) else 0

    def processes(self, device: c_void_p) -> int:
        """Count the processes that compute on a device; a buffer that is too small is answered with their number."""
        number = c_uint(0)
        code = self._code("nvmlDeviceGetComputeRunningProcesses_v3", device, byref(number), None)
        return number.value if code in (SUCCESS, INSUFFICIENT_SIZE) else 0

    def _code(self, name: str, *arguments: object) -> int:
        try:
            function = getattr(self._library, name)
        except AttributeError:
            return FUNCTION_NOT_FOUND
        return int(function(*arguments))

    def _words(self, code: int) -> str:
        try:
            function = self._library.nvmlErrorString
        except AttributeError:
            return ""
        function.restype = c_char_p
        said: bytes = function(c_int(code)) or b""
        return said.decode(errors="replace")


def read(path: str = LIBRARY) -> dict[str, Any]:
    """Return everything as ``DriverReading`` has it; a call that fails is a part of it."""
    try:
        library = Nvml(path)
    except OSError as error:
        return {"missing": str(error)}
    try:
        library.call("nvmlInit_v2")
    except NvmlError as error:
        return {"failed": error.failure}
    try:
        return _read(library)
    except NvmlError as error:
        return {"failed": error.failure}
    finally:
        with suppress(NvmlError):  # everything has been read
            library.ask("nvmlShutdown")


def _read(library: Nvml) -> dict[str, Any]:
    driver = library.text("nvmlSystemGetDriverVersion")
    number = c_uint()
    library.call("nvmlDeviceGetCount_v2", byref(number))
    devices = [reading for index in range(number.value) for reading in _device_and_parts(library, index)]
    return {"driver": driver, "devices": [{**device, "index": index} for index, device in enumerate(devices)]}


def _device_and_parts(library: Nvml, index: int) -> list[dict[str, Any]]:
    """Return the reading of a device, or of each of its MIG instances: those are what a container was given."""
    found: dict[str, Any] = {}
    try:
        handle = c_void_p()
        library.call("nvmlDeviceGetHandleByIndex_v2", c_uint(index), byref(handle))
        found["uuid"] = library.text("nvmlDeviceGetUUID", handle)
        parts = _instances(library, handle)
        _read_health(library, handle, found)
        if parts:
            return [found | _part(library, part) for part in parts]
        _read_use(library, handle, found)
    except NvmlError as error:
        found["failed"] = error.failure
    return [found]


def _instances(library: Nvml, device: c_void_p) -> list[c_void_p]:
    current, pending, most, parts = c_uint(), c_uint(), c_uint(), []
    if not library.ask("nvmlDeviceGetMigMode", device, byref(current), byref(pending)) or not current.value:
        return []
    library.call("nvmlDeviceGetMaxMigDeviceCount", device, byref(most))
    for number in range(most.value):
        part = c_void_p()
        try:
            if library.ask("nvmlDeviceGetMigDeviceHandleByIndex", device, c_uint(number), byref(part)):
                parts.append(part)
        except NvmlError as error:
            if error.failure["code"] != NOT_FOUND:
                raise
    return parts


def _part(library: Nvml, part: c_void_p) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        found["uuid"] = library.text("nvmlDeviceGetUUID", part)
        found |= _memory(library, part)
    except NvmlError as error:
        found["failed"] = error.failure
    return found


def _memory(library: Nvml, device: c_void_p) -> dict[str, int]:
    newer = _MemoryV2(version=sizeof(_MemoryV2) | 2 << 24)
    if library.ask("nvmlDeviceGetMemoryInfo_v2", device, byref(newer)):
        return {"total": newer.total - newer.reserved, "free": newer.free}
    memory = _MemoryInfo()
    library.call("nvmlDeviceGetMemoryInfo", device, byref(memory))
    return {"total": memory.total, "free": memory.free}


def _read_use(library: Nvml, device: c_void_p, found: dict[str, Any]) -> None:
    found |= _memory(library, device)
    found["compute_mode"] = library.count("nvmlDeviceGetComputeMode", device)
    found["processes"] = library.processes(device)


def _read_health(library: Nvml, device: c_void_p, found: dict[str, Any]) -> None:
    errors = c_ulonglong()
    if library.ask(
        "nvmlDeviceGetTotalEccErrors", device, c_uint(_UNCORRECTED), c_uint(_VOLATILE), byref(errors)
    ):  # fmt: skip
        found["uncorrected"] = errors.value
    rows = tuple(c_uint() for _ in range(4))  # corrected, uncorrected, pending, failed
    known = library.ask("nvmlDeviceGetRemappedRows", device, *(byref(one) for one in rows))
    pages = library.count("nvmlDeviceGetRetiredPagesPendingStatus", device)
    found["pending"] = bool(pages or (known and rows[2].value))
    found["remap_failed"] = bool(known and rows[3].value)
    wanted = _Field(field=_RECOVERY_FIELD)
    if library.ask("nvmlDeviceGetFieldValues", device, c_int(1), byref(wanted)) and wanted.code == SUCCESS:
        found["recovery"] = wanted.value.ui


if __name__ == "__main__":
    json.dump(read(), sys.stdout)
