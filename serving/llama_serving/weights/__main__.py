"""``python -m llama_serving.weights inspect FOLDER``: writes a ModelReport for the operator, and says it on stdout.

The exit status is 0 whenever a report was written: a refused model is a result. The tools that make models have
command lines of their own (``python -m llama_serving.weights.tiny``).
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from llama_serving.weights.inspect import encode, inspect

_TERMINATION_LOG: Final = Path("/dev/termination-log")


def main(arguments: list[str]) -> int:
    """Run one command. Raises OSError when the report cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m llama_serving.weights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("inspect", help="look at a model folder and report what it holds")
    command.add_argument("folder", type=Path, help="folder with config.json, tokenizer and *.safetensors")
    command.add_argument("--report", type=Path, default=_TERMINATION_LOG, help="file to write to (%(default)s)")
    options = parser.parse_args(arguments)
    report = inspect(options.folder)
    options.report.write_bytes(encode(report))
    sys.stdout.write(f"{report.outcome}: {report.message}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
