"""Texts in JSON answers hold no control characters and no surrogates, whatever their schema bounds.

xgrammar 0.2.8 lets a text with ``minLength`` or ``maxLength`` hold every character but a quote, a backslash and ends
of lines. RFC 8259 (section 7) wants U+0000 to U+001F escaped, so such an answer is no JSON. It lets every text hold
U+D800 to U+DFFF too, which UTF-8 has not (RFC 3629): clients read three characters then, and more than ``maxLength``.
Both rules are corrected in the grammar before it is compiled; a grammar without them is compiled as it is.

In a tool call JSON may have any number of spaces between two tokens, and a small model says them until its limit. One
is allowed, as models are trained to say it.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final

import xgrammar

#: The rules of a bounded text and of any other, as xgrammar writes them; it counts characters, not bytes.
_LOOSE: Final = (r"[^\"\\\r\n]", r"[^\0-\x1f\"\\\r\n]")
_STRICT: Final = r"[^\"\\\0-\u001f\ud800-\udfff]"
#: A grammar is written with ``\xdf`` and read with as many digits as follow, so that of "größe" becomes another word.
_ESCAPE: Final = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|.)", re.DOTALL)
_SPACES: Final = 1  # characters between two tokens of the JSON in a tool call


def correct_json_strings() -> None:
    """Let every compiler of this process correct the grammars that it makes of schemas and of structural tags."""
    compiler = xgrammar.GrammarCompiler
    if compiler.compile_json_schema.__module__ != __name__:
        compiler.compile_json_schema = _corrected(compiler.compile_json_schema, xgrammar.Grammar.from_json_schema)
        compiler.compile_structural_tag = _corrected(
            compiler.compile_structural_tag, xgrammar.Grammar.from_structural_tag, prepare=_few_spaces
        )


def _corrected(stock: Any, grammar_of: Any, *, prepare: Callable[[Any], Any] = lambda given: given) -> Any:
    def compile_corrected(self: Any, given: Any, *arguments: Any, **options: Any) -> Any:
        arguments = (prepare(given), *arguments)
        text = str(grammar_of(*arguments, **options))
        strict = text
        for rule in _LOOSE:
            strict = strict.replace(rule, _STRICT)
        if strict == text:
            return stock(self, *arguments, **options)
        # As text: a compiler writes a grammar that it is given as an object, to look it up, and reads that.
        return self.compile_grammar(_fixed_digits(strict))

    return compile_corrected


def _few_spaces(tag: Any) -> Any:
    """Return a structural tag, as JSON, whose schemas allow few spaces; what is no such text is returned as it is."""
    return json.dumps(_limited(json.loads(tag))) if isinstance(tag, str) else tag


def _limited(part: Any) -> Any:
    if isinstance(part, list):
        return [_limited(one) for one in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "json_schema" and "json_schema" in part:  # what lies in a schema is the user's
        return {**part, "max_whitespace_cnt": part.get("max_whitespace_cnt") or _SPACES}
    return {name: _limited(one) for name, one in part.items()}


def _fixed_digits(text: str) -> str:
    """Return a grammar whose escapes have four digits each."""
    return _ESCAPE.sub(lambda found: f"\\u00{found[1]}" if found[1] else found[0], text)
