"""Measures of the code itself: ``python -m benchmarks.code_measures``. No times: the same tree gives the same figures.

For each part: modules, lines, functions with the median, 90th percentile and maximum of their lines, functions with
more than three positional parameters, the share of lines in comments and docstrings, and the largest folder. For each
folder with sub-folders: how many rooms it has (modules and sub-folders), how many floors their imports make (longest
chain; a cycle counts as one floor) and how many arrows there are between rooms.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "operator": "operator/llama_operator",
    "operator plan": "operator/llama_operator/plan",
    "serving": "serving/llama_serving",
    "serving gateway": "serving/llama_serving/gateway",
    "serving cell": "serving/llama_serving/cell",
    "serving weights": "serving/llama_serving/weights",
    "testbed": "testbed",
    "benchmarks": "benchmarks",
    "tests": "tests",
}
PACKAGES = {"llama_operator": "operator/llama_operator", "llama_serving": "serving/llama_serving"}
MOST_POSITIONAL = 3
COLUMNS = (
    "part", "modules", "lines", "functions", "lines median / p90 / max", "> 3 positional", "comment %", "docstring %",
    "largest folder",
)  # fmt: skip


@dataclass(frozen=True)
class Module:
    """A parsed file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """All functions and methods."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def modules(folder: Path) -> list[Module]:
    """Read all modules below a folder, package files included."""
    paths = sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)
    texts = ((path, path.read_text(encoding="utf-8")) for path in paths)
    return [Module(path, text, ast.parse(text)) for path, text in texts]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the positional parameters without ``self`` and ``cls``."""
    names = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
    return len([name for name in names if name not in ("self", "cls")])


def comment_lines(module: Module) -> int:
    """Count the lines with a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    return len({token.start[0] for token in tokens if token.type == tokenize.COMMENT})


def docstring_lines(module: Module) -> int:
    """Count the lines of docstrings."""
    owners = (node for node in ast.walk(module.tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef
                                                                   | ast.AsyncFunctionDef))  # fmt: skip
    return sum(len(text.splitlines()) for owner in owners if (text := ast.get_docstring(owner)))


def row(name: str, folder: Path) -> str:
    """Render one part as a row of the table."""
    found = modules(folder)
    lines = sum(len(module.text.splitlines()) for module in found)
    functions = [function for module in found for function in module.functions]
    lengths = sorted(map(length, functions))
    many = sum(positional(function) > MOST_POSITIONAL for function in functions)
    folders = Counter(module.path.parent for module in found if module.path.name != "__init__.py")
    largest, count = max(folders.items(), key=lambda item: item[1])
    p90 = quantiles(lengths, n=10)[-1] if len(lengths) > 1 else 0
    comments = 100 * sum(map(comment_lines, found)) / lines
    docstrings = 100 * sum(map(docstring_lines, found)) / lines
    size = f"{median(lengths):.0f} / {p90:.0f} / {lengths[-1]}"
    shares = f"{comments:.1f} | {docstrings:.1f}"
    place = f"{count} in {largest.relative_to(ROOT)}"
    return f"| {name} | {len(found)} | {lines} | {len(functions)} | {size} | {many} | {shares} | {place} |"


def imports(package: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield pairs of dotted modules of a package: who imports whom."""
    found = {_dotted(package, folder, module.path): module for module in modules(folder)}
    for name, module in found.items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
                for alias in node.names:
                    target = f"{node.module}.{alias.name}"
                    yield name, target if target in found else str(node.module)


def _dotted(package: str, folder: Path, path: Path) -> str:
    parts = (package, *path.relative_to(folder).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def rooms(prefix: str, pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Reduce imports to arrows between the rooms directly below ``prefix``."""
    depth = prefix.count(".") + 1
    inside = ((a.split("."), b.split(".")) for a, b in pairs if f"{a}.".startswith(f"{prefix}.") and
              f"{b}.".startswith(f"{prefix}."))  # fmt: skip
    short = ((a[depth], b[depth]) for a, b in inside if len(a) > depth and len(b) > depth)
    return {(a, b) for a, b in short if a != b}


def floors(arrows: set[tuple[str, str]]) -> int:
    """Count the floors: the longest chain of imports. Rooms of a cycle are counted once."""
    below: dict[str, set[str]] = {}
    for a, b in arrows:
        below.setdefault(a, set()).add(b)

    def depth(room: str, path: frozenset[str]) -> int:
        return 1 + max((depth(other, path | {room}) for other in below.get(room, ()) if other not in path), default=0)

    return max((depth(room, frozenset()) for room in below), default=1)


def structure(package: str, folder: Path) -> Iterator[str]:
    """Yield a row for each folder of a package that has several rooms."""
    pairs = set(imports(package, folder))
    for path in sorted({module.path.parent for module in modules(folder)}):
        prefix = ".".join((package, *path.relative_to(folder).parts))
        inside = {one.stem for one in path.glob("*.py") if one.stem != "__init__"}
        inside |= {one.parent.name for one in path.glob("*/__init__.py")}
        if len(inside) > 1:
            arrows = rooms(prefix, pairs)
            yield f"| {prefix} | {len(inside)} | {floors(arrows)} | {len(arrows)} |"


def main() -> int:
    """Print both tables."""
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    for name, folder in PARTS.items():
        print(row(name, ROOT / folder))
    print("\n| folder | rooms | floors | arrows |\n|---|---|---|---|")
    for package, folder in PACKAGES.items():
        for line in structure(package, ROOT / folder):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
