"""Removes stale files of a killed predecessor: a pod's /dev/shm and /tmp survive the restart of a container.

Only names that our own processes give are removed, and only where no process holds the file.
"""

import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

# vLLM's ring buffers (multiprocessing.shared_memory), its CPU communicator's regions, Ray's object store, semaphores of
# multiprocessing, NCCL's segments (mkstemp of nccl-XXXXXX), heartbeats of ranks. Each killed start leaves some, and
# /dev/shm counts as the pod's memory.
_OURS: Final = re.compile(
    r"^(psm_[0-9a-f]+|.*-cpushm.*|plasma\w*|sem\.mp-\w+|sem\.loky-\w+|nccl-[A-Za-z0-9]{6}|\.?llama-rank-[\d-]+)$"
)


def remove_shared_memory(folder: Path, *, proc: Path = Path("/proc")) -> list[str]:
    """Remove our files in ``folder`` that no process maps or has open; returns their names."""
    ours = [path for path in folder.iterdir() if path.is_file() and _OURS.match(path.name)]
    if not ours:
        return []
    open_names = used_names(proc)
    removed = [path.name for path in ours if path.name not in open_names]
    for name in removed:
        (folder / name).unlink(missing_ok=True)
    logger.info("removed %d stale files of an earlier start from %s", len(removed), folder)
    return removed


def remove_ray_folder(folder: Path) -> None:
    """Remove the sessions of earlier starts: sockets, logs, and the address that a new start would trip over."""
    if folder.exists():
        shutil.rmtree(folder)
        logger.info("removed the Ray folder %s of an earlier start", folder)


def renew_folder(folder: Path) -> None:
    """Make an empty folder, without the files of earlier starts."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def used_names(proc: Path = Path("/proc")) -> set[str]:
    """Return the file names in /dev/shm that some process has mapped or open."""
    processes = [entry for entry in proc.iterdir() if entry.name.isdecimal()]
    return {name for process in processes for name in (*_mapped(process), *_open(process))}


def _mapped(process: Path) -> Iterator[str]:
    try:
        lines = (process / "maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # ended meanwhile, or another user's
        return
    for line in lines:
        path = line.partition("/dev/shm/")[2]
        if path:
            yield path.removesuffix(" (deleted)")


def _open(process: Path) -> Iterator[str]:
    try:
        links = list((process / "fd").iterdir())
    except OSError:
        return
    for link in links:
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("/dev/shm/"):
            yield target.removeprefix("/dev/shm/").removesuffix(" (deleted)")
