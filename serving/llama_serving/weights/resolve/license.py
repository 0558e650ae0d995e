"""Which license a model's own files name, and whether that is the one that was accepted.

Looked at in this order: the front matter of README.md (``license``, or ``license_name`` where that says nothing), a
``license`` in config.json, the title of a LICENSE file. Two names are the same when they are after taking out words
such as "license" and "community", case and dashes: ``llama3.1`` is the Llama 3.1 Community License Agreement.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from llama_serving.weights.model.errors import shown

README: Final = "README.md"
CONFIG: Final = "config.json"
TEXTS: Final = ("LICENSE", "LICENSE.txt", "LICENSE.md")
_FRONT_MATTER: Final = re.compile(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
# ``licence``: the other spelling of the word, as models may have it.
_WORDS: Final = re.compile(r"\b(the|license|licence|community|agreement|version)\b|[^a-z0-9.]")
_LLAMA: Final = re.compile(r"llama (\d(?:\.\d)?) community license", re.IGNORECASE)
_TITLES: Final = {"Apache License": "apache-2.0", "MIT License": "mit"}
_TITLE_LINES: Final = 10
_NAMELESS: Final = ("other", "unknown")  # the Hub's words for a license that has no short name there


def find_license(files: Mapping[str, bytes]) -> str:
    """Return the short name of the license that the files name; empty when none does."""
    texts = {name: content.decode("utf-8", "replace") for name, content in files.items()}
    title = next((texts[name] for name in TEXTS if name in texts), "")
    found = _of_readme(texts.get(README, "")) or _of_config(texts.get(CONFIG, "")) or _of_title(title)
    return shown(found)


def same_license(one: str, other: str) -> bool:
    """Return whether two names mean the same license."""
    return _WORDS.sub("", one.lower()) == _WORDS.sub("", other.lower())


def _of_readme(text: str) -> str:
    front = _FRONT_MATTER.match(text)
    try:
        fields: Any = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError:
        return ""
    if not isinstance(fields, dict):
        return ""
    name = _text(fields, "license")
    if name in _NAMELESS:
        return _text(fields, "license_name")
    return name


def _of_config(text: str) -> str:
    try:
        fields = json.loads(text or "{}")
    except ValueError:
        return ""
    return _text(fields, "license") if isinstance(fields, dict) else ""


def _of_title(text: str) -> str:
    title = "\n".join(text.splitlines()[:_TITLE_LINES])
    llama = _LLAMA.search(title)
    if llama:
        return f"llama{llama[1]}"
    return next((name for words, name in _TITLES.items() if words in title), "")


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    return value.strip() if isinstance(value, str) else ""
