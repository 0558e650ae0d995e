"""Markdown pages of the repository: their text, links, anchors and blocks of code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]

#: Targets of links, after the closing bracket of their text.
TARGETS: Final = re.compile(r"\]\([^)]*\)")

_HIDDEN: Final = (".venv", ".git", "node_modules", "corpus")  # corpus: inputs of tests
_FENCE: Final = re.compile(r"^ *(```+|~~~+) *(\w*)")
_LINK: Final = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_CODE: Final = re.compile(r"`[^`]*`")
_HEADING: Final = re.compile(r"^#{1,6} +(.*?) *#*$")


@dataclass(frozen=True)
class Block:
    """One fenced block of code."""

    language: str
    text: str


@dataclass(frozen=True)
class Page:
    """One Markdown file; ``path`` is relative to the repository."""

    path: Path

    @cached_property
    def lines(self) -> list[str]:
        """All lines."""
        return (ROOT / self.path).read_text(encoding="utf-8").splitlines()

    @cached_property
    def prose(self) -> list[tuple[int, str]]:
        """Number and text of each line outside of fenced blocks."""
        found, fence = [], ""
        for number, line in enumerate(self.lines, 1):
            mark = _FENCE.match(line)
            if mark and (not fence or line.strip() == fence):
                fence = "" if fence else mark[1]
            elif not fence:
                found.append((number, line))
        return found

    @cached_property
    def blocks(self) -> list[Block]:
        """All fenced blocks."""
        found: list[Block] = []
        fence, language, inside = "", "", list[str]()
        for line in self.lines:
            mark = _FENCE.match(line)
            if not fence and mark:
                fence, language, inside = mark[1], mark[2], []
            elif fence and line.strip() == fence:
                found.append(Block(language, "\n".join(inside)))
                fence = ""
            elif fence:
                inside.append(line)
        return found

    @cached_property
    def anchors(self) -> set[str]:
        """Anchors that GitHub makes from the headings."""
        found: set[str] = set()
        for _, line in self.prose:
            if heading := _HEADING.match(line):
                slug = slug_of(heading[1])
                repeats = sum(one == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", one) is not None for one in found)
                found.add(f"{slug}-{repeats}" if repeats else slug)
        return found

    def links(self) -> Iterator[tuple[int, str]]:
        """Line number and target of each link to a file or an anchor of the repository."""
        for number, line in self.prose:
            for target in _LINK.findall(_CODE.sub("``", line)):
                if "://" not in target and not target.startswith("mailto:"):
                    yield number, target


def slug_of(heading: str) -> str:
    """Anchor of a heading: lower case, without punctuation, spaces as dashes; links count by their text."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def without_code(line: str) -> str:
    """Return a line without its code spans and the targets of its links."""
    return TARGETS.sub("]", _CODE.sub("", line))


def all_pages() -> list[Page]:
    """Every Markdown file of the repository, in order of its path."""
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return [Page(path) for path in sorted(paths) if not set(path.parts) & set(_HIDDEN)]
