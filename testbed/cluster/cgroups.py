"""The cgroups below which the kubelets put their pods: made before, removed after, and read to find processes.

Works on both layouts: one tree per controller (version 1) and the single tree (version 2). Only folders below the
instance's own name are ever touched.
"""

import time
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
_REMOVE_S: Final = 10.0


def unified() -> bool:
    """Tell whether the machine has the single tree only."""
    return (ROOT / "cgroup.controllers").exists()


def trees() -> list[Path]:
    """Return the roots of the trees."""
    return [ROOT] if unified() else [path for path in ROOT.iterdir() if (path / "cgroup.procs").exists()]


def create(name: str) -> None:
    """Make a cgroup in every tree, ready to hold others."""
    for tree in trees():
        folder = tree
        for part in name.split("/"):
            _delegate(folder)
            folder = folder / part
            folder.mkdir(exist_ok=True)
            _inherit_cpuset(folder)
        _delegate(folder)


def _delegate(folder: Path) -> None:
    """Let the children use what the folder may use; only the single tree needs it."""
    if unified():
        controllers = (folder / "cgroup.controllers").read_text().split()
        (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))


def _inherit_cpuset(folder: Path) -> None:
    """Give a new cgroup its parent's CPUs and memory nodes; version 1 starts with none, and then nothing can join."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        path = folder / name
        if path.exists() and not unified() and not path.read_text().strip():
            path.write_text((folder.parent / name).read_text())


def remove(name: str) -> None:
    """Remove a cgroup and all below it from every tree; its processes have ended or are about to."""
    for tree in trees():
        top = tree / name
        if not top.exists():
            continue
        deadline = time.monotonic() + _REMOVE_S
        for folder in sorted((top, *(p for p in top.rglob("*") if p.is_dir())), reverse=True):
            _remove_one(folder, deadline)
        if not any(p.is_dir() for p in top.parent.iterdir()):  # this was the last instance
            _remove_one(top.parent, deadline)


def _remove_one(folder: Path, deadline: float) -> None:
    """Remove one empty cgroup; the kernel says "busy" until its last process is fully gone."""
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def processes(name: str, *, named: str) -> list[int]:
    """Return the processes in the cgroups with this last name (a container's id) somewhere below another."""
    tree = ROOT if unified() else ROOT / "pids"
    found: set[int] = set()
    for path in (tree / name).glob(f"**/{named}/**/cgroup.procs"):
        try:
            found.update(int(line) for line in path.read_text().split())
        except OSError:
            continue  # the container ended while we looked
    return sorted(found)
