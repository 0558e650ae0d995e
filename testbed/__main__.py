"""`python -m testbed`: a Kubernetes cluster to try and test the operator on. docs/explanation/test-bed.md says more."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable

from testbed import backends
from testbed.backends import Cluster
from testbed.cluster import store
from testbed.errors import BedError

_COMMANDS = {
    "up": "start or repair an instance",
    "down": "remove an instance and all it made",
    "status": "show what runs",
    "env": "print variables: eval $(python -m testbed env)",
    "images": "build our images and load them into the nodes",
    "load": "load an image into the nodes",
    "kwok": "set the number of made-up nodes, with 8 nvidia.com/gpu each",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m testbed", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    added = {name: commands.add_parser(name, help=text, description=text) for name, text in _COMMANDS.items()}
    for command in added.values():
        command.add_argument("--name", default="default", help="the instance (default: %(default)s)")
    nodes = "number of nodes; 0 is a control plane alone (default: as it is, or 2)"
    added["up"].add_argument("--nodes", type=int, help=nodes)
    added["up"].add_argument("--kwok-nodes", type=int, help="number of made-up nodes (default: as it is, or 0)")
    added["kwok"].add_argument("--nodes", type=int, required=True, dest="kwok_nodes", help="how many")
    added["load"].add_argument(
        "image", help="the path of an image archive, or the name of an image that was built here"
    )
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    asked = parser().parse_args(arguments)
    try:
        run(asked, _cluster(asked))
    except BedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr
        print(f"testbed: {error}\n{said or ''}", file=sys.stderr)
        return 1
    return 0


def _cluster(asked: argparse.Namespace) -> Cluster:
    alone = getattr(asked, "nodes", None) == 0 or store.instance_dir(asked.name).exists()
    # Asking Docker takes time, and our own instance is not looked for in it.
    docker = not alone and "CLUSTER" not in os.environ and backends.docker_runs()
    return backends.choose(asked.name, env=os.environ, docker_runs=docker, alone=alone)


def run(asked: argparse.Namespace, cluster: Cluster) -> None:
    """Do what is asked."""
    commands: dict[str, Callable[[], list[str] | None]] = {
        "up": lambda: cluster.up(nodes=asked.nodes, kwok_nodes=asked.kwok_nodes),
        "kwok": lambda: cluster.up(nodes=None, kwok_nodes=asked.kwok_nodes),
        "down": cluster.down,
        "status": lambda: [f"{part:30} {text}" for part, text in cluster.status().items()],
        "env": lambda: [f"export {key}={shlex.quote(value)}" for key, value in cluster.env().items()],
        "images": cluster.images,
        "load": lambda: cluster.load(asked.image),
    }
    for line in commands[asked.command]() or ():
        print(line)


if __name__ == "__main__":
    sys.exit(main())
