"""Which cluster the commands work on: the user's own, kind where Docker runs, else the bed's.

`CLUSTER` chooses: `current` (the cluster that KUBECONFIG points to), `kind` or `own`.
"""

import pathlib
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from testbed.cache.folder import REPOSITORY
from testbed.cluster import own
from testbed.errors import BedError
from testbed.images import build, load


class Cluster(Protocol):
    """A cluster that the project's images and charts can be tried on."""

    def up(self, *, nodes: int | None, kwok_nodes: int | None) -> None:
        """Start or repair it; None leaves a number as it is."""
        ...

    def down(self) -> None:
        """Remove it."""
        ...

    def status(self) -> dict[str, str]:
        """Return a word for each of its parts."""
        ...

    def env(self) -> dict[str, str]:
        """Return the variables that point a shell at it."""
        ...

    def images(self) -> list[str]:
        """Build our images and bring them to its nodes; returns their names."""
        ...

    def load(self, image: str) -> None:
        """Bring an image to its nodes."""
        ...


@dataclass(frozen=True)
class Own:
    """The bed's own cluster."""

    name: str

    def up(self, *, nodes: int | None, kwok_nodes: int | None) -> None:
        """Start or repair it; two nodes unless it exists or a number is given."""
        own.up(self.name, nodes=nodes, kwok_nodes=kwok_nodes)

    def down(self) -> None:
        """Remove it."""
        own.down(self.name)

    def status(self) -> dict[str, str]:
        """Return a word for each process."""
        return own.status(self.name)

    def env(self) -> dict[str, str]:
        """Return KUBECONFIG and PATH."""
        return own.env(self.name)

    def images(self) -> list[str]:
        """Build with buildah and link into the nodes."""
        runtimes = own.runtimes(self.name)
        images = build.ensure()
        for image in images.values():
            load.load(image, runtimes)
        return [f"{name}:{build.TAG}" for name in images]

    def load(self, image: str) -> None:
        """Link or import an image into the nodes."""
        load.load_any(image, root=build.store().root, runtimes=own.runtimes(self.name))


@dataclass(frozen=True)
class Kind:
    """A kind cluster on a Docker engine."""

    name: str

    def up(self, *, nodes: int | None, kwok_nodes: int | None) -> None:
        """Make it with this many workers, two unless a number is given, if it does not exist."""
        if kwok_nodes:
            raise BedError("made-up nodes need the bed's own cluster: CLUSTER=own")
        if self.name in _run("kind", "get", "clusters").split():
            return
        roles = ["control-plane", *["worker"] * (2 if nodes is None else nodes)]
        config = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n" + "".join(
            f"- role: {r}\n" for r in roles
        )
        _run("kind", "create", "cluster", "--name", self.name, "--wait=180s", "--config=-", stdin=config)

    def down(self) -> None:
        """Remove it."""
        _run("kind", "delete", "cluster", "--name", self.name)

    def status(self) -> dict[str, str]:
        """Return a word for each node."""
        return dict.fromkeys(_run("kind", "get", "nodes", "--name", self.name).split(), "exists")

    def env(self) -> dict[str, str]:
        """Return KUBECONFIG, written to the instance's folder."""
        path = own.folders(self.name).kubeconfig
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_run("kind", "get", "kubeconfig", "--name", self.name))
        return {"KUBECONFIG": str(path)}

    def images(self) -> list[str]:
        """Build with Docker, on the base images that the Dockerfiles name."""
        built = []
        for name, folder in ((build.OPERATOR, "operator"), (build.SERVING, "serving")):
            tagged = f"{name}:{build.TAG}"
            _run(
                "docker",
                "build",
                f"--file={REPOSITORY}/{folder}/Dockerfile",
                f"--tag={tagged}",
                str(REPOSITORY),
            )
            self.load(tagged)
            built.append(tagged)
        return built

    def load(self, image: str) -> None:
        """Bring an image of the Docker engine, or an archive, to the nodes."""
        what = "image-archive" if pathlib.Path(image).is_file() else "docker-image"
        _run("kind", "load", what, image, "--name", self.name)


@dataclass(frozen=True)
class Current:
    """The cluster that KUBECONFIG points to; never made, changed or removed."""

    kubeconfig: str

    def up(self, *, nodes: int | None, kwok_nodes: int | None) -> None:
        """Check that the cluster answers; its nodes stay as they are."""
        del nodes, kwok_nodes
        _run("kubectl", "version", "--request-timeout=10s")

    def down(self) -> None:
        """Leave it alone."""

    def status(self) -> dict[str, str]:
        """Return a word for each node."""
        lines = _run("kubectl", "get", "nodes", "--no-headers").splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}

    def env(self) -> dict[str, str]:
        """Return KUBECONFIG as it is."""
        return {"KUBECONFIG": self.kubeconfig}

    def images(self) -> list[str]:
        """Refuse: the way into a foreign cluster is its registry."""
        raise BedError(
            "CLUSTER=current: build the images with docker and push them to a registry that the cluster reads"
        )

    def load(self, image: str) -> None:
        """Refuse, likewise."""
        raise BedError(f"CLUSTER=current: push {image} to a registry that the cluster reads")


def choose(name: str, *, env: Mapping[str, str], docker_runs: bool, alone: bool) -> Cluster:
    """Choose the cluster.

    Args:
        name: of the instance.
        env: variables, for CLUSTER and KUBECONFIG.
        docker_runs: whether a Docker engine answers and `kind` is there.
        alone: a control plane alone is asked for, or exists under this name; only the bed itself can do that.

    Raises:
        BedError: the choice makes no sense.
    """
    match env.get("CLUSTER", ""):
        case "current" if env.get("KUBECONFIG"):
            return Current(env["KUBECONFIG"])
        case "current":
            raise BedError("CLUSTER=current needs KUBECONFIG")
        case "kind":
            return Kind(name)
        case "own":
            return Own(name)
        case "":
            return Kind(name) if docker_runs and not alone else Own(name)
        case other:
            raise BedError(f"CLUSTER={other} is not known: use current, kind or own")


def docker_runs() -> bool:
    """Tell whether a Docker engine answers and kind is there."""
    if not (shutil.which("docker") and shutil.which("kind")):
        return False
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def _run(*argv: str, stdin: str | None = None) -> str:
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True)
    except FileNotFoundError:
        raise BedError(f"{argv[0]} is not installed") from None
    if done.returncode:
        raise BedError(f"`{' '.join(argv)}` failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
