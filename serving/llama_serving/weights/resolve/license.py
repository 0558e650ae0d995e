"""Which licenses a model's own files name, and whether the accepted one is among them.

Looked at in this order: the front matter of README.md (``license``, or ``license_name`` where that says nothing), a
``license`` in config.json, the title of a LICENSE file. Two names are the same when they are after taking out words
such as "license" and "community", case and dashes: ``llama3.1`` is the Llama 3.1 Community License Agreement.

A list names several licenses, and whether all or any of them hold the Hub does not say: whoever accepts has read them,
so the accepted one must be one of them, and no other is taken for it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llama_serving.common.foreign_json import parse_foreign_json
from llama_serving.weights.model.errors import shown, shown_list
from llama_serving.weights.model.folder import CONFIG
from llama_serving.weights.resolve.front_matter import FrontMatter, read_front_matter

README: Final = "README.md"
TEXTS: Final = ("LICENSE", "LICENSE.txt", "LICENSE.md")
# ``licence``: the other spelling of the word, as models may have it.
_WORDS: Final = re.compile(r"\b(the|license|licence|community|agreement|version)\b|[^a-z0-9.]")
_LLAMA: Final = re.compile(r"llama (\d(?:\.\d)?) community license", re.IGNORECASE)
_TITLES: Final = {"Apache License": "apache-2.0", "MIT License": "mit"}
_TITLE_LINES: Final = 10
_NAMELESS: Final = ("other", "unknown")  # the Hub's words for a license that has no short name there


@dataclass(frozen=True)
class FoundLicense:
    """The licenses that the files name."""

    names: tuple[str, ...] = ()
    fault: str = ""  # what keeps the head of README.md from being read; empty when it was
    half_named: bool = False  # the head has a license that could not be read

    @property
    def shown(self) -> str:
        """The first names in one line; empty when no file names one."""
        return shown_list(list(self.names))

    def allows(self, accepted: str) -> bool:
        """Return whether ``accepted`` is one of the names."""
        return any(same_license(name, accepted) for name in self.names)


def find_license(files: Mapping[str, bytes]) -> FoundLicense:
    """Return what the files say of their license."""
    texts = {name: files[name].decode("utf-8", "replace") for name in (README, CONFIG, *TEXTS) if name in files}
    head = read_front_matter(texts.get(README, ""))
    title = next((texts[name] for name in TEXTS if name in texts), "")
    names = _of_head(head) or _of_config(texts.get(CONFIG, "")) or _of_title(title)
    fault, half_named = _fault(head)
    return FoundLicense(tuple(dict.fromkeys(map(shown, names))), fault, half_named=half_named)


def same_license(one: str, other: str) -> bool:
    """Return whether two names mean the same license."""
    return _WORDS.sub("", one.lower()) == _WORDS.sub("", other.lower())


def _of_head(head: FrontMatter) -> list[str]:
    found = [name for value in head.values("license") for name in _names(value)]
    own = [name for value in head.values("license_name") for name in _names(value)] if found else []
    return [name for name in found if name.lower() not in _NAMELESS] or own


def _fault(head: FrontMatter) -> tuple[str, bool]:
    """Return what of the head could not be read, and whether that is its license."""
    given = head.values("license")
    if any(_names(value) for value in given):
        return head.fault, False
    if head.fault:
        return head.fault, bool(given)
    strange = any(value not in (None, "", []) for value in given)
    return ("gives its license neither as text nor as a list of texts" if strange else ""), strange


def _of_config(text: str) -> list[str]:
    try:
        fields = parse_foreign_json(text.encode() or b"{}")
    except ValueError:
        return []
    return _names(fields.get("license")) if isinstance(fields, dict) else []


def _of_title(text: str) -> list[str]:
    title = "\n".join(text.splitlines()[:_TITLE_LINES])
    llama = _LLAMA.search(title)
    if llama:
        return [f"llama{llama[1]}"]
    return [name for words, name in _TITLES.items() if words in title][:1]


def _names(value: Any) -> list[str]:
    """Return the names in a field: a text, or a list of texts; a number or a date is what was written."""
    values = value if isinstance(value, list) else [value]
    return [text for item in values if (text := _text(item))]


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()
