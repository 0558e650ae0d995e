"""Where the engine of this stage keeps what it compiles: in the pod, or on a volume that outlives it (engine.cache).

On the volume, each stage of each group has a folder of its own, so that no two engines write the same files, below one
for the image, the layout and the type of GPU: what another one compiled is never read. The caches of vLLM, Triton and
FlashInfer have keys of their own besides.

Rule: a cache never keeps an engine from starting. A volume that cannot be written, is full or is silent is left out
with a sentence. And a cache with which the last start did not come to an answer is left out of the next one: what is
wrong with it, if anything, is not found out here. That start is noted in the pod's own ``/tmp``.
"""

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llama_serving.cell.shared.identity import Identity
from llama_serving.config import names
from llama_serving.config.error_text import error_text
from llama_serving.config.wording import bytes_text

#: Bytes that must be free. What a start writes was not measured on a GPU.
LEAST_FREE: Final = 2 * 10**9
PATIENCE: Final = 10.0  # seconds that the volume gets to answer
NOTE: Final = Path("/tmp/llama-cache-start")
GPUS: Final = Path("/proc/driver/nvidia/gpus")
#: Variable of the engine -> folder below the stage's.
FOLDERS: Final[Mapping[str, str]] = {
    "VLLM_CACHE_ROOT": "vllm",
    "TRITON_CACHE_DIR": "triton",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
}

_MODEL: Final = re.compile(r"^Model:\s*(\S.*?)\s*$", re.MULTILINE)
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True)
class EngineCache:
    """Where the caches of this start lie."""

    folder: Path | None  # None: in the pod
    fault: str = ""  # why they do not lie where they were asked for, in one sentence
    note: Path = NOTE

    def environment(self, *, device: str) -> dict[str, str]:
        """Return the environment of the engine's processes."""
        found = {} if self.folder is None else {name: str(self.folder / part) for name, part in FOLDERS.items()}
        # The memory that a start measured is measured again only where less is free now, or anything else changed.
        return found | ({"VLLM_ENABLE_STARTUP_PLAN": "1"} if device == "gpu" else {})

    def begin(self) -> None:
        """Note that a start with the cache begins. Without a note the next start takes the cache again."""
        if self.folder is not None:
            try:
                self.note.write_text(str(self.folder), encoding="utf-8")
            except OSError:
                return

    def confirm(self) -> None:
        """Note that the engine has answered."""
        if self.folder is not None:
            self.note.unlink(missing_ok=True)


NO_CACHE: Final = EngineCache(None)


def choose_cache(
    me: Identity, *, mount: Path = Path(names.CACHE_MOUNT), gpus: Path = GPUS, note: Path = NOTE
) -> EngineCache:
    """Return where this start's caches lie, after a try to write there. Never raises. Blocks."""
    if not me.config.cache_key:
        return EngineCache(None, note=note)
    folder = mount / cache_folder(me, gpu=gpu_type(gpus))
    fault = _unanswered(folder, note) or _tried(lambda: _unwritable(folder, mount), folder)
    return EngineCache(None if fault else folder, fault, note)


def cache_folder(me: Identity, *, gpu: str) -> str:
    """Return the folder of a stage on the volume."""
    return f"{me.config.cache_key}-{gpu}/group-{me.config.group}-stage-{me.stage}"


def gpu_type(gpus: Path) -> str:
    """Return the type of the pod's GPUs as the driver names it, as part of a path; ``none`` where there is none."""
    found = sorted({name for path in _information(gpus) if (name := _model_of(path))})
    return _NO_NAME.sub("-", "+".join(found)).strip("-")[:100] or "none"


def _information(gpus: Path) -> Iterable[Path]:
    try:
        return [path / "information" for path in gpus.iterdir()]
    except OSError:
        return []


def _model_of(path: Path) -> str:
    try:
        found = _MODEL.search(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found.group(1) if found else ""


def _unanswered(folder: Path, note: Path) -> str:
    try:
        before = note.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    if before != str(folder):
        return ""
    note.unlink(missing_ok=True)  # it is tried again by the start after this one
    return f"the last start with the cache {folder} did not come to an answer, so this one compiles anew in the pod"


def _tried(attempt: Callable[[], str], folder: Path) -> str:
    """Return what an attempt says, or that the volume is silent: a thread that waits for it is left behind."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(attempt()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if said:
        return said[0]
    return f"the engine's cache {folder} did not answer within {PATIENCE:.0f} s, so it lies in the pod"


def _unwritable(folder: Path, mount: Path) -> str:
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"probe")
        probe.unlink()
        free = shutil.disk_usage(mount).free
    except OSError as error:
        return f"the engine's cache {folder} cannot be used, so it lies in the pod: {error_text(error)}"
    if free >= LEAST_FREE:
        return ""
    return (
        f"the engine's cache lies in the pod: {bytes_text(free)} are free on the volume of engine.cache, it needs"
        f" {bytes_text(LEAST_FREE)}"
    )
