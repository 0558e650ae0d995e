"""The termination message of a container: one sentence that the kubelet puts into the pod's status."""

import argparse
from pathlib import Path

from llama_serving.config import names
from llama_serving.config.logs.lines import one_line


def add_termination_log(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--termination-log``."""
    path = Path(names.TERMINATION_LOG)
    parser.add_argument("--termination-log", type=Path, default=path, help="where the kubelet reads why")


def write_termination_log(path: Path, message: str) -> None:
    """Write why the container ends, in one line. Raises OSError."""
    if path.exists():  # the kubelet makes the file; elsewhere nobody reads it
        path.write_text(one_line(message), encoding="utf-8")
