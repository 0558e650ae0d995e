"""The bed's programs, built from pinned Go modules and cached by what they were built from.

A module's cache key is a digest of all its files (go.mod and go.sum pin every dependency) and of the build flags:
a changed pin is built again, anything else is found. Programs in `KUBEBUILDER_ASSETS` are taken from there.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed import progress
from testbed.cache.folder import REPOSITORY, cache, lock
from testbed.errors import BedError

KUBERNETES: Final = "v1.37.2"
DRA_DRIVER: Final = "dra-example-kubeletplugin"  # Kubernetes' own example of a driver of devices
GO_MINIMUM: Final = "1.26"
_VERSION = "k8s.io/component-base/version"
_KUBERNETES_FLAGS: Final = (
    f"-s -w -X {_VERSION}.gitVersion={KUBERNETES}"
    f" -X {_VERSION}.gitMajor={KUBERNETES[1:].split('.')[0]} -X {_VERSION}.gitMinor={KUBERNETES.split('.')[1]}"
)


@dataclass(frozen=True)
class Binary:
    """A program: the folder of its module below testbed/go, its package, and flags for the linker."""

    name: str
    module: str
    package: str
    ldflags: str = "-s -w"


def _kubernetes(name: str) -> Binary:
    return Binary(name, "kube", f"k8s.io/kubernetes/cmd/{name}", _KUBERNETES_FLAGS)


ALL: Final = {
    binary.name: binary
    for binary in (
        Binary("etcd", "kube", "go.etcd.io/etcd/server/v3"),
        _kubernetes("kube-apiserver"),
        _kubernetes("kubectl"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubelet"),
        _kubernetes("kube-proxy"),
        Binary("coredns", "coredns", "."),
        Binary("pause", "pause", "."),
        Binary("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
        Binary("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
        Binary("versitygw", "versitygw", "github.com/versity/versitygw/cmd/versitygw"),
        Binary("registry", "registry", "github.com/distribution/distribution/v3/cmd/registry"),
        Binary("fake-gcs-server", "gcs", "github.com/fsouza/fake-gcs-server"),
        Binary("kstatus", "kstatus", "."),
        Binary(DRA_DRIVER, "dra", f"sigs.k8s.io/dra-example-driver/cmd/{DRA_DRIVER}"),
    )
}
CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kubectl")
SOURCES: Final = ("versitygw", "registry", "fake-gcs-server")  # servers that weights come from, for their tests
NODES: Final = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns", "pause", "helm")


def module_key(files: dict[str, bytes], *, ldflags: str) -> str:
    """Return the cache key of a module's program: a digest of the module's files and the flags."""
    digest = hashlib.sha256(ldflags.encode())
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name] + b"\0")
    return digest.hexdigest()[:16]


def _cached(binary: Binary) -> Path:
    folder = REPOSITORY / "testbed" / "go" / binary.module
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".mod", ".sum", ".go"}}
    return cache() / "bin" / f"{binary.module}-{module_key(files, ldflags=binary.ldflags)}" / binary.name


def _asset(name: str) -> Path | None:
    """Return the program in KUBEBUILDER_ASSETS, if it is there."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    path = Path(folder) / name if folder else None
    return path if path and os.access(path, os.X_OK) else None


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """Return the paths of programs, built first where they are not in the cache, with progress.

    Raises:
        BedError: Go is missing or too old, or a build failed.
    """
    paths = {name: _asset(name) or _cached(ALL[name]) for name in names}
    if all(path.exists() for path in paths.values()):
        return paths
    with lock(cache() / "bin" / ".lock"):
        missing = [name for name, path in paths.items() if not path.exists()]
        for position, name in enumerate(missing):
            left = len(missing) - position - 1
            with progress.step(f"building {name} ({position + 1} of {len(missing)}, {left} left after it)"):
                _build(ALL[name], paths[name])
    return paths


def _build(binary: Binary, path: Path) -> None:
    if shutil.which("go") is None:
        raise BedError(f"Go {GO_MINIMUM} or newer is needed to build {binary.name}: install it from https://go.dev/dl/")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")  # a build that is cut off must not look like a finished one
    argv = ["go", "build", "-C", str(REPOSITORY / "testbed" / "go" / binary.module), "-o", str(draft), "-trimpath"]
    done = subprocess.run(
        [*argv, "-ldflags", binary.ldflags, binary.package],
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BedError(f"`{' '.join(argv)} ... {binary.package}` failed:\n{done.stderr[-4000:]}")
    draft.replace(path)
