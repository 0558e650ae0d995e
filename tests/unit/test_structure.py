"""The shape of the tree: small folders, one meaning for each class name, private modules that stay private."""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "llama_operator": ROOT / "operator" / "llama_operator",
    "llama_serving": ROOT / "serving" / "llama_serving",
    "testbed": ROOT / "testbed",
}
TREES = (*PACKAGES.values(), ROOT / "benchmarks", ROOT / "examples", ROOT / "tests")
MOST_MODULES = 16
#: Class names that two modules of a package may share, with the reason.
SHARED_NAMES = {
    "Settings": "each baseline of the replay has the settings of its system",
}


def modules(tree: Path) -> Iterator[Path]:
    return (path for path in sorted(tree.rglob("*.py")) if "__pycache__" not in path.parts)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_no_folder_holds_more_modules_than_a_reader_takes_in_at_a_glance() -> None:
    files = (path for tree in TREES for path in modules(tree) if path.name != "__init__.py")
    counts = Counter(str(path.parent.relative_to(ROOT)) for path in files)
    assert {name: count for name, count in counts.items() if count > MOST_MODULES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_class_name_means_one_thing_in_a_package(package: str) -> None:
    places = defaultdict(list)
    for path in modules(PACKAGES[package]):
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(PACKAGES[package])))
    twice = {name: found for name, found in places.items() if len(found) > 1 and name not in SHARED_NAMES}
    assert twice == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_private_modules_are_imported_by_their_own_folder_only(package: str) -> None:
    foreign = []
    for path in modules(PACKAGES[package]):
        folder = ".".join((package, *path.relative_to(PACKAGES[package]).parent.parts))
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                parents = name.split(".")
                private = next((i for i, part in enumerate(parents) if part.startswith("_") and i < len(parents)), None)
                owner = ".".join(parents[:private]) if private is not None else ""
                if owner.startswith(package) and owner != folder:
                    foreign.append(f"{path.relative_to(ROOT)}: {name}")
    assert foreign == []
