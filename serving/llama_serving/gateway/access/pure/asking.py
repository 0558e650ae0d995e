"""Lets an engine count the tokens of a stream whose client did not ask for it.

Of two equal names in a JSON object the last one counts, so a field at the end of the body replaces the client's.
"""

import json
import re
from dataclasses import replace
from typing import Any, Final

from llama_serving.gateway.continuation.pure.request import CHAT, TEXT, ContinuableRequest
from llama_serving.gateway.fields.scanner import Body

_OPTIONS: Final = b'"stream_options"'
_DECODER: Final = json.JSONDecoder()
_AFTER_NAME: Final = re.compile(rb"\s*:\s*(?=\{)")
_LONGEST: Final = 4096
#: Simple fields at the end of an object, which are therefore fields of the whole body.
_VALUE: Final = (
    rb'(?:true|false|null|-?[0-9.eE+-]{1,24}|"(?:[^"\\]|\\.){0,256}"|\{[^{}\[\]"]{0,200}\}'
    rb'|\{"include_usage"\s*:\s*\w+\s*\})'
)
_TAIL: Final = re.compile(rb'(?:,\s*"[A-Za-z_]{1,40}"\s*:\s*' + _VALUE + rb"\s*)+\}\s*$")
_STREAM: Final = re.compile(rb'"stream"\s*:\s*true\b')
_EDGE: Final = 1024


def asks_for_stream(path: str, body: Body) -> bool:
    """Return whether a body that is too long to be parsed ends with fields of which one asks for a stream."""
    if path not in (CHAT, TEXT):
        return False
    tail = _TAIL.search(body[-_EDGE:])
    return tail is not None and _STREAM.search(tail[0]) is not None


def with_usage(body: Body, continuable: ContinuableRequest | None) -> tuple[Body, ContinuableRequest | None, bool]:
    """Return the body with a request for the usage, the same for its continuation, and whether it was missing."""
    options = _options(body)
    if options.get("include_usage") is True:
        missing = False
    else:
        missing, options = True, {**options, "include_usage": True}
    text = b',"stream_options":' + json.dumps(options, separators=(",", ":")).encode() + b"}"
    if continuable is not None:
        asked = {**json.loads(continuable.asked), "stream_options": options}
        continuable = replace(continuable, asked=json.dumps(asked, separators=(",", ":")).encode())
    return body.rstrip()[:-1] + text, continuable, missing


def _options(body: Body) -> dict[str, Any]:
    """Return the options that a body has; another object of this name in it changes nothing that is billed."""
    at = body.rfind(_OPTIONS)
    found = _AFTER_NAME.match(body, at + len(_OPTIONS)) if at >= 0 else None
    if found is None:
        return {}
    try:
        options, _ = _DECODER.raw_decode(body[found.end() : found.end() + _LONGEST].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return options if isinstance(options, dict) else {}
