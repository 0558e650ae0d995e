"""What our Dockerfiles stand on in the test bed: small Debian systems and the program uv, made from packages.

A registry of images may be out of reach where the bed runs; Debian's archive is needed anyway. Each base is named
after a digest of its recipe, so a changed list of packages is a new base and everything above it is made again.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.cache.folder import cache
from testbed.errors import BedError

SUITE: Final = "bookworm"


@dataclass(frozen=True)
class Base:
    """A Debian system: a variant of mmdebstrap and packages on top of it."""

    name: str
    variant: str
    packages: tuple[str, ...]

    @property
    def image(self) -> str:
        """Name and tag of its image."""
        text = "\0".join((SUITE, self.variant, *self.packages, *_OPTIONS))
        return f"localhost/llama-testbed-{self.name}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


# Manuals, translations and caches are of no use in an image.
_OPTIONS: Final = (
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
)

# With a shell: builds both images and carries the serving one.
SYSTEM: Final = Base(
    "system", "essential", ("python3", "libgomp1", "libnuma1", "libstdc++6", "tini", "ca-certificates")
)
# Unpacked only, like the "distroless" images: what Python and numpy need to run.
PYTHON: Final = Base(
    "python",
    "extract",
    ("base-files", "libpython3.11-stdlib", "libstdc++6", "media-types", "netbase", "python3-minimal", "tzdata"),
)


def context(base: Base, folder: Path) -> None:
    """Fill a folder with what `buildah bud` needs to make the base's image.

    Raises:
        BedError: Debian's archive could not be read or a package is missing.
    """
    argv = ["mmdebstrap", f"--variant={base.variant}", "--mode=root", "--quiet", *_OPTIONS]
    argv += [f"--include={','.join(base.packages)}", SUITE, str(folder / "system.tar")]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise BedError(f"`{' '.join(argv)}` failed:\n{done.stderr[-2000:]}")
    (folder / "Dockerfile").write_text("FROM scratch\nADD system.tar /\n")


def uv_command() -> str:
    """Return the uv to call: the one of `make setup`, else the user's.

    Raises:
        BedError: uv is not installed.
    """
    of_setup = sorted(cache().glob("uv-*/bin/uv"), key=lambda path: path.stat().st_mtime)
    found = str(of_setup[-1]) if of_setup else shutil.which("uv")
    if found is None:
        raise BedError("uv is needed to build the images: `make setup` installs one, or pip install uv")
    return found


def uv_program() -> Path:
    """Return the path of the program uv; the command of that name may be a script that finds it.

    Raises:
        BedError: uv is not installed.
    """
    argv = [uv_command(), "run", "--no-project", "--offline", "--no-config", "printenv", "UV"]
    with tempfile.TemporaryDirectory() as empty:  # elsewhere uv would look for a project
        done = subprocess.run(argv, capture_output=True, text=True, cwd=empty)
    if done.returncode:
        raise BedError(f"`{' '.join(argv)}` failed: {done.stderr.strip()[-500:]}")
    return Path(done.stdout.strip())


def uv_image(program: bytes) -> str:
    """Name and tag of the image that holds uv."""
    return f"localhost/llama-testbed-uv:{hashlib.sha256(program).hexdigest()[:12]}"


def uv_context(program: Path, folder: Path) -> None:
    """Fill a folder with what `buildah bud` needs to make the image that holds uv."""
    shutil.copy2(program, folder / "uv")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY uv /uv\n")


def certificates(env: Mapping[str, str]) -> Path | None:
    """Return the file of authorities that this machine uses instead of the common ones; None where it has none.

    The variables are those that OpenSSL and Python's HTTP libraries read.
    """
    named = (env.get(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    return next((Path(path) for path in named if path and Path(path).is_file()), None)
