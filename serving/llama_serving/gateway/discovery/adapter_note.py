"""The annotation by which the operator says which LoRA adapters a group answers with."""

import json

from llama_serving.config.gateway import LONGEST_ADAPTERS_ANNOTATION, MOST_ADAPTERS

LONGEST_NAME = 253  # characters
LONGEST_ID = 512


def parse_adapters(text: str) -> tuple[dict[str, str], str]:
    """Return the ids by name, and why the annotation is of no use: then there is none. Ids are printable ASCII."""
    if not text:
        return {}, ""
    if len(text) > LONGEST_ADAPTERS_ANNOTATION:
        return {}, f"it has {len(text)} characters, at most {LONGEST_ADAPTERS_ANNOTATION} are read"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}, "it is not JSON"
    if not isinstance(found, dict) or len(found) > MOST_ADAPTERS:
        return {}, f"it is not an object of at most {MOST_ADAPTERS} names"
    if not all(_is_text(name, LONGEST_NAME) and _is_header(value) for name, value in found.items()):
        return {}, "a name or an id in it is empty, too long, or has characters that no header may have"
    return found, ""


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest


def _is_header(value: object) -> bool:
    return isinstance(value, str) and _is_text(value, LONGEST_ID) and all(" " <= c <= "~" for c in value)
