"""What the bed needs from the machine: installed with apt where we may, else named with the command that does.

Debian starts a package's service when it is installed; a policy file, kept only while apt runs, forbids it, because
the bed runs containers of its own and must leave nothing behind.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from testbed import progress
from testbed.errors import BedError

_POLICY: Final = Path("/usr/sbin/policy-rc.d")

# What must be there (a command, or a file by its path), and Debian's package that brings it.
CONTROL_PLANE: Final = {"openssl": "openssl"}
NODES: Final = {
    **CONTROL_PLANE,
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "mount": "mount",
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
}
IMAGES: Final = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}


def missing(needed: dict[str, str]) -> list[str]:
    """Return the packages whose command or file is not there."""
    return sorted({package for thing, package in needed.items() if not _present(thing)})


def _present(thing: str) -> bool:
    # Programs of the system may be outside a user's search path.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return Path(thing).exists() if thing.startswith("/") else shutil.which(thing, path=path) is not None


def ensure(needed: dict[str, str]) -> None:
    """Install what is missing.

    Raises:
        BedError: it cannot be installed from here; the message holds the command.
    """
    wanted = missing(needed)
    if not wanted:
        return
    command = f"apt-get install --no-install-recommends {' '.join(wanted)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise BedError(f"the test bed needs {', '.join(wanted)}; install with: sudo {command}")
    with progress.step(f"installing {', '.join(wanted)}"), _no_services():
        try:
            _apt(["install", "--yes", "--no-install-recommends", *wanted])
        except BedError:
            _apt(["update"])  # the lists may be old or absent
            _apt(["install", "--yes", "--no-install-recommends", *wanted])


def _apt(arguments: Iterable[str]) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", *arguments], env=env, capture_output=True, text=True)
    if done.returncode:
        raise BedError(f"`apt-get {' '.join(arguments)}` failed:\n{done.stderr[-2000:]}")


@contextmanager
def _no_services() -> Iterator[None]:
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
