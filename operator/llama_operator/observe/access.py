"""Secrets with keys of clients, as they are read: what a key may do, or why it may not call.

A key is hashed here and kept nowhere, and no sentence shows a value of such a Secret: it could be a key in the wrong
place. What is kept of a Secret is bounded, whoever wrote it: its first MOST_LABELS labels, and a rule of a few kB.

    data:
      key: at least SHORTEST_KEY characters of printable ASCII without spaces
      tokensPerMinute, requestsPerMinute, concurrentRequests, weight, priority: whole numbers
      models: names separated by commas
      expires: a time in RFC 3339 with its zone
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from llama_operator.ports import KeySecret, Manifest, RulesSecret
from llama_serving.config import names
from llama_serving.config.access.rules import ACCESS_FILE, AccessKey

SHORTEST_KEY: Final = 32  # characters
LONGEST_KEY: Final = 512
#: Labels of a Secret that count, the first by name.
MOST_LABELS: Final = 16
#: Characters of the field ``models``, and names in it.
LONGEST_MODELS: Final = 4096
MOST_MODELS: Final = 128

#: Field of the Secret -> field of the rule, and the numbers that it may be.
_NUMBERS: Final[Mapping[str, tuple[str, int, int]]] = {
    "tokensPerMinute": ("tokens_per_minute", 1, 10**12),
    "requestsPerMinute": ("requests_per_minute", 1, 10**9),
    "concurrentRequests": ("concurrent_requests", 1, 10**6),
    "weight": ("weight", 1, 1000),
    "priority": ("priority", -100, 100),
}
_FIELDS: Final = ("key", *_NUMBERS, "models", "expires")
_SHOWN: Final = 24  # characters of a name
_MAKE_ONE: Final = "make one with: openssl rand -hex 32"
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,252}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")


class _BadField(ValueError):
    """What is wrong with a Secret, as a clause with the remedy."""


def key_secret(body: Manifest) -> KeySecret:
    """Read a Secret with a key."""
    meta = body["metadata"]
    labels = dict(sorted((meta.get("labels") or {}).items())[:MOST_LABELS])
    rule, fault = None, ""
    try:
        rule = _rule(meta["name"], body.get("data") or {})
    except _BadField as error:
        fault = str(error)
    except ValueError:  # a rule of the contract; its text would show the value
        fault = "its fields are not understood: correct them, or leave all but key out"
    return KeySecret(meta["name"], meta.get("creationTimestamp") or "", labels, rule, fault)


def rules_secret(body: Manifest) -> RulesSecret:
    """Read a Secret with the rules of a deployment's gateways; of its content only the hash is kept."""
    meta = body["metadata"]
    text = (body.get("data") or {}).get(ACCESS_FILE, "")
    owners = frozenset(owner.get("uid", "") for owner in meta.get("ownerReferences") or ())
    digest = (meta.get("annotations") or {}).get(names.ANNOTATION_DIGEST, "")
    return RulesSecret(meta["name"], meta.get("uid", ""), owners, digest[:64], content_hash(text))


def is_rules(body: Manifest) -> bool:
    """Tell a Secret of the operator's own from one with a key."""
    return (body["metadata"].get("labels") or {}).get(names.LABEL_ACCESS_KEY) == names.ACCESS_RULES


def content_hash(text: str) -> str:
    """Return the SHA-256 of the rules as they stand in a Secret's data, in base64."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_gone(body: Manifest) -> bool:
    """Tell whether a Secret counts no more: a finalizer may keep one whose key was revoked."""
    return "deletionTimestamp" in body["metadata"]


def _rule(name: str, data: Mapping[str, str]) -> AccessKey:
    unknown = sorted(field for field in data if field not in _FIELDS)
    if unknown:
        shown = f" {unknown[0]}" if len(unknown[0]) <= _SHOWN else ""  # a long one could be a key
        raise _BadField(f"it has a field{shown} that is none of {', '.join(_FIELDS)}: correct its name")
    found: dict[str, Any] = {"name": name, "sha256": _hashed(data.get("key"))}
    for field, (to, least, most) in _NUMBERS.items():
        if field in data:
            found[to] = _number(field, _text(field, data[field], 32), (least, most))
    if "models" in data:
        found["models"] = _models(_text("models", data["models"], LONGEST_MODELS))
    if "expires" in data:
        found["expires"] = _moment(_text("expires", data["expires"], 64))
    return AccessKey(**found)


def _hashed(encoded: str | None) -> str:
    if encoded is None:
        raise _BadField(f"it has no field key; {_MAKE_ONE}")
    key = _decoded("key", encoded, LONGEST_KEY)
    if key[-1:] in (b"\n", b"\r"):
        raise _BadField("its key ends with a line break, which no client sends: write it with --from-literal")
    if any(not 0x21 <= byte <= 0x7E for byte in key):
        raise _BadField(f"its key has a space, or a character that is not printable ASCII; {_MAKE_ONE}")
    if len(key) < SHORTEST_KEY:
        raise _BadField(f"its key has {len(key)} characters, at least {SHORTEST_KEY} are needed; {_MAKE_ONE}")
    return hashlib.sha256(key).hexdigest()


def _decoded(field: str, encoded: str, longest: int) -> bytes:
    if len(encoded) > 2 * longest + 8:  # base64 has 4 characters for 3 bytes
        raise _BadField(f"its field {field} is longer than the {longest} characters that are taken: shorten it")
    try:
        value = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise _BadField(f"its field {field} is not base64: write it again") from None
    if len(value) > longest:
        raise _BadField(f"its field {field} has {len(value)} characters, at most {longest} are taken: shorten it")
    return value


def _text(field: str, encoded: str, longest: int) -> str:
    try:
        return _decoded(field, encoded, longest).decode("ascii").strip()
    except UnicodeDecodeError:
        raise _BadField(f"its field {field} is not plain ASCII: write it again") from None


def _number(field: str, text: str, bounds: tuple[int, int]) -> int:
    least, most = bounds
    digits = text.removeprefix("-")
    if not digits.isdecimal() or not least <= (value := int(text)) <= most:
        raise _BadField(f"its field {field} is not a whole number from {least} to {most}: correct it, or leave it out")
    return value


def _models(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if found == ("",):
        raise _BadField("its field models is empty, which would allow none: leave it out to allow every model")
    if len(found) > MOST_MODELS:
        raise _BadField(f"its field models has {len(found)} names, at most {MOST_MODELS} are taken: leave some out")
    if not all(_MODEL.fullmatch(name) for name in found):
        raise _BadField("its field models is not a list of model names with commas between them, such as chat,chat-sql")
    return found


def _moment(text: str) -> float:
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        raise _BadField("its field expires is not a time with its zone, such as 2027-01-31T00:00:00Z") from None
