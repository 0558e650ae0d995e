"""Strings by which Ray, Serve, vLLM and ``python -m`` find our code: each resolves, and there are no others.

Resolved by reading the sources, so that neither Ray nor vLLM need be installed.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_serving.cell import entrypoints

ROOT = Path(__file__).parents[3]
SERVING = ROOT / "serving"
TABLE = SERVING / "llama_serving/cell/entrypoints.py"
#: Parts of command lines by which a test finds who listens; nothing is loaded by them.
COMMAND_LINES = SERVING / "llama_serving" / "config" / "walls" / "listening.py"
DOTTED = re.compile(r"llama_serving(\.\w+)+(:\w+)?")
NO_CODE = {"getLogger", "ArgumentParser"}  # calls whose strings are names for humans
MODULES = [  # python -m, outside of the cell
    *("llama_serving.cell", "llama_serving.gateway", "llama_serving.weights"),
]


def table() -> Iterator[str]:
    """All dotted strings of the table."""
    for name, value in vars(entrypoints).items():
        if name.isupper():
            yield from (value,) if isinstance(value, str) else value


def module_file(module: str) -> Path | None:
    """The file of a module; of a package its ``__main__``, which ``python -m`` runs."""
    place = SERVING / module.replace(".", "/")
    found = [path for path in (place.with_suffix(".py"), place / "__main__.py") if path.is_file()]
    return found[0] if found else None


def defined(file: Path) -> set[str]:
    """Names that a module defines or imports at its top level."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def resolves(text: str) -> bool:
    module, _, function = text.partition(":")
    if function:
        file = module_file(module)
        return file is not None and function in defined(file)
    if module_file(text) is not None:
        return True
    module, _, attribute = text.rpartition(".")
    file = module_file(module)
    return file is not None and attribute in defined(file)


def strings(file: Path) -> Iterator[str]:
    """Dotted strings of a module; without docstrings, names of loggers and of programs."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    ignored: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            ignored.add(id(node.value))
        elif isinstance(node, ast.Call) and NO_CODE & {getattr(node.func, "id", ""), getattr(node.func, "attr", "")}:
            ignored |= {id(child) for child in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in ignored:
            yield from (match[0] for match in DOTTED.finditer(node.value))


OURS = sorted({text for text in table() if text.startswith("llama_serving.")})


@pytest.mark.parametrize("text", OURS)
def test_each_entry_point_is_there(text: str) -> None:
    assert resolves(text)


def test_a_string_that_leads_nowhere_does_not_resolve() -> None:
    assert not resolves("llama_serving.cell.replica.app:builds")
    assert not resolves("llama_serving.cell.ray.begin")
    assert not resolves("llama_serving.cpu.worker.StageWorkers")
    assert len(OURS) >= 8


def test_no_other_module_of_the_serving_image_has_one() -> None:
    files = [path for path in (SERVING / "llama_serving").rglob("*.py") if path not in (TABLE, COMMAND_LINES)]
    assert {str(path): found for path in files if (found := list(strings(path)))} == {}


@pytest.mark.parametrize("folder", ["operator", "benchmarks", "testbed"])
def test_what_the_other_packages_run_with_python_m_is_there(folder: str) -> None:
    found = {text for path in (ROOT / folder).rglob("*.py") for text in strings(path)}
    assert {text for text in found if not resolves(text)} == set()


def test_the_image_starts_the_supervisor() -> None:
    command = (SERVING / "Dockerfile").read_text(encoding="utf-8").rpartition("CMD ")[2]
    assert entrypoints.SUPERVISOR_MODULE in command
