"""What the gateway is made of: a pure core, and nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import llama_serving.gateway.continuation.pure as continuation
import llama_serving.gateway.fields as fields
import llama_serving.gateway.routing as routing
from llama_serving.config import routes

PURE = {"abc", "bisect", "collections", "collections.abc", "dataclasses", "enum", "heapq", "itertools", "math", "re"}
PURE |= {"typing"}
HEAVY = {"ray", "vllm", "torch", "kopf", "kubernetes", "llama_operator", "llama_serving.cell"}


def imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def outside(file: Path, *inside: str) -> set[str]:
    return {name for name in imported(file) if not name.startswith(inside)}


def test_routing_has_no_clock_no_io_and_no_tasks() -> None:
    for package in (routing, routes):  # the table of routes is data
        assert package.__file__ is not None
        for file in Path(package.__file__).parent.rglob("*.py"):
            assert outside(file, routing.__name__, routes.__name__, fields.__name__) <= PURE, file.name


def test_continuing_an_answer_is_worked_out_without_clock_io_and_tasks() -> None:
    for package in (continuation, fields):
        assert package.__file__ is not None
        for file in Path(package.__file__).parent.rglob("*.py"):
            others = outside(file, continuation.__name__, fields.__name__)
            assert others <= PURE | {"array", "gc", "hashlib", "json"}, file.name


def test_the_process_loads_nothing_heavy() -> None:
    code = f"import llama_serving.gateway.__main__, sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
