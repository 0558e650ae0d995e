"""The options that name a source, of every command that reads one."""

import argparse
from pathlib import Path

from llama_serving.weights.source.factory import open_source
from llama_serving.weights.source.interface import Source


def add_source_options(command: argparse.ArgumentParser) -> None:
    """Add the options."""
    command.add_argument("--source", required=True, help="URI of the folder; {revision} in it is filled in")
    command.add_argument("--revision", default="", help="commit, tag, version, date or digest")
    command.add_argument("--credentials", type=Path, help="folder with one file per key of a Secret")


def source_of(options: argparse.Namespace) -> Source:
    """Return the source that the options name; nothing is requested yet. Raises Gone for a URI that is none."""
    return open_source(options.source, revision=options.revision, credentials=options.credentials)
