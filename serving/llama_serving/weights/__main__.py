"""``python -m llama_serving.weights``: what the operator's pods run to look at weights.

``inspect`` looks at a folder on a disk, ``resolve`` at any source, ``stage`` brings what a stage needs. The exit status
of the first two is 0 whenever a report was written: a refused model is a result. The tools that make models have
command lines of their own (``python -m testbed.models.tiny``).
"""

import argparse
import sys
import traceback
from pathlib import Path
from typing import Final

from llama_serving.config.error_text import error_text
from llama_serving.weights.model.inspection import encode, inspect
from llama_serving.weights.resolve import command as resolve_command
from llama_serving.weights.resolve.publish import PublishError
from llama_serving.weights.source.interface import SourceError
from llama_serving.weights.staging import command as stage_command

_TERMINATION_LOG: Final = Path("/dev/termination-log")


def main(arguments: list[str]) -> int:
    """Run one command. Raises OSError when the report cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m llama_serving.weights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("inspect", help="look at a model folder and report what it holds")
    command.add_argument("folder", type=Path, help="folder with config.json, tokenizer and *.safetensors")
    command.add_argument("--report", type=Path, default=_TERMINATION_LOG, help="file to write to (%(default)s)")
    command.set_defaults(run=_inspect)
    command = commands.add_parser("resolve", help="look at weights where they are, and make their manifest")
    resolve_command.add_arguments(command)
    command.set_defaults(run=resolve_command.run)
    command = commands.add_parser("stage", help="bring into a stage's pod what its engine needs, and verify it")
    stage_command.add_arguments(command)
    command.set_defaults(run=stage_command.main)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _inspect(options: argparse.Namespace) -> int:
    report = inspect(options.folder)
    options.report.write_bytes(encode(report))
    sys.stdout.write(f"{report.outcome}: {report.message}\n")
    return 0


def _run(arguments: list[str]) -> int:
    """Run one command; the last line of the log of one that fails is what the operator shows."""
    try:
        return main(arguments)
    except OSError as error:
        traceback.print_exc()
        sys.stderr.write(f"{error.filename or 'the report'} cannot be written: {error_text(error)}\n")
    except (PublishError, SourceError) as error:
        traceback.print_exc()
        sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
