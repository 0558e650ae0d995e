"""`python -m testbed`: up, down, status, env."""

import argparse
import shlex
import sys

from testbed import own
from testbed.errors import BedError
from testbed.images import build, load


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m testbed", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "start or repair an instance"),
        ("down", "remove an instance"),
        ("status", "show what runs"),
        ("env", "print variables for `eval`"),
        ("images", "build our images and load them into the nodes"),
        ("load", "load an image into the nodes"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--name", default="default", help="the instance (default: %(default)s)")
        if name == "up":
            command.add_argument("--nodes", type=int, default=2, help="number of nodes (default: %(default)s)")
        if name == "load":
            command.add_argument("image", help="an image of the bed's store, or the path of an image archive")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    asked = parser().parse_args(arguments)
    try:
        match asked.command:
            case "up":
                own.up(asked.name, nodes=asked.nodes)
            case "down":
                own.down(asked.name)
            case "status":
                for unit, text in own.status(asked.name).items():
                    print(f"{unit:30} {text}")
            case "images":
                for image in build.ensure().values():
                    load.load(image, own.runtimes(asked.name))
                    print(f"{image.names[0]} {image.digest}")
            case "load":
                load.load_any(asked.image, root=build.store().root, runtimes=own.runtimes(asked.name))
            case "env":
                for key, value in own.env(asked.name).items():
                    print(f"export {key}={shlex.quote(value)}")
    except BedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
