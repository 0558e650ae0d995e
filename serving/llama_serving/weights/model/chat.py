"""What a model's folder says about tool calls and reasoning: its chat template, and which tokens its tokenizer has.

The template is the one that the engine takes for a request with tools. Source: transformers 5,
``PreTrainedTokenizerBase.from_pretrained`` (chat_template.jinja wins over tokenizer_config.json) and
``get_chat_template`` (of several, the one named tool_use, else default). Nothing here refuses a model: what cannot be
read leaves it without parsers, with the reason.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from llama_serving.config.chat.facts import ChatFacts
from llama_serving.config.chat.inference import TEMPLATE_LIMIT, infer
from llama_serving.config.chat.parsers import MARKERS
from llama_serving.config.error_text import error_text
from llama_serving.weights.model.errors import RefusedError, refused
from llama_serving.weights.model.folder import Folder, open_folder

TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_TEMPLATE_FILE: Final = "chat_template.jinja"
_TOKENIZER: Final = "tokenizer.json"
_PIECES: Final = "tokenizer.model"
_TOKENIZER_LIMIT: Final = 64 << 20  # bytes; tokenizer.json of Llama 3 has 17 MB
_LONGEST_REASON: Final = 200  # characters; a report has 4096 bytes for all it says
_NAMED: Final = ("tool_use", "default")  # of several templates, the one for a request with tools


def chat_facts(path: Path, *, template: str = "") -> ChatFacts:
    """Return what the folder says; ``template``: path of a chat template that is used instead of the folder's."""
    try:
        return read_chat(open_folder(path), template=template)
    except RefusedError as refusal:
        return _unread(refusal.message)
    except OSError as error:
        return _unread(f"the folder of the model cannot be listed: {error_text(error)}")


def read_chat(folder: Folder, *, template: str = "") -> ChatFacts:
    """Return what the folder says; ``template``: path of a chat template that is used instead of the folder's."""
    try:
        config = folder.read_json(TOKENIZER_CONFIG) if TOKENIZER_CONFIG in folder.names else {}
        text, origin = _given(template) if template else _template(folder, config)
        return infer(text, frozenset(_tokens(folder, config)), origin=origin)
    except RefusedError as refusal:
        return _unread(refusal.message)
    except OSError as error:
        return _unread(f"a file of the tokenizer cannot be read: {error_text(error)}")


def _unread(reason: str) -> ChatFacts:
    short = reason[:_LONGEST_REASON]
    return ChatFacts(tools_reason=short, reasoning_reason=short)


def _given(path: str) -> tuple[str, str]:
    with Path(path).open("rb") as file:
        return _text(file.read(TEMPLATE_LIMIT + 1), path), path


def _template(folder: Folder, config: dict[str, Any]) -> tuple[str, str]:
    """Return the text of the template and where it is from; two empty ones where there is none."""
    if _TEMPLATE_FILE in folder.names:
        with folder.open(_TEMPLATE_FILE) as file:
            return _text(file.read(TEMPLATE_LIMIT + 1), _TEMPLATE_FILE), _TEMPLATE_FILE
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        for name in _NAMED:
            if isinstance(text := named.get(name), str):
                return _short(text), f"{TOKENIZER_CONFIG}, template {name}"
        return "", ""
    return (_short(found), TOKENIZER_CONFIG) if isinstance(found, str) and found else ("", "")


def _text(content: bytes, name: str) -> str:
    if len(content) > TEMPLATE_LIMIT:
        raise refused(f"the chat template {name} is larger than {TEMPLATE_LIMIT >> 20} MiB, which none is")
    return content.decode(errors="replace")


def _short(template: str) -> str:
    return _text(template.encode(errors="replace"), TOKENIZER_CONFIG)


def _tokens(folder: Folder, config: dict[str, Any]) -> Iterator[str]:
    """Yield those of ``MARKERS`` that are tokens."""
    added = config.get("added_tokens_decoder")
    listed = [*(added.values() if isinstance(added, dict) else ()), *_more(config)]
    for one in listed:
        name = one.get("content") if isinstance(one, dict) else one
        if isinstance(name, str) and name in MARKERS:
            yield name
    for file, literals in ((_TOKENIZER, _json_literals), ("added_tokens.json", _json_literals), (_PIECES, _piece)):
        if file in folder.names:
            content = _bounded(folder, file)
            yield from (token for token in MARKERS if any(one in content for one in literals(token)))


def _more(config: dict[str, Any]) -> list[Any]:
    """Return the tokens that the config adds to those of the tokenizer's own file."""
    found: list[Any] = []
    for key in ("additional_special_tokens", "extra_special_tokens"):
        value = config.get(key)
        found += value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return found


def _bounded(folder: Folder, name: str) -> bytes:
    with folder.open(name) as file:
        content = file.read(_TOKENIZER_LIMIT + 1)
    if len(content) > _TOKENIZER_LIMIT:
        raise refused(f"{name} is larger than {_TOKENIZER_LIMIT >> 20} MiB, which no such file is")
    return content


def _json_literals(token: str) -> tuple[bytes, ...]:
    """Return how JSON may spell a token. It is enough to find it: every string that holds all of it is one."""
    return json.dumps(token).encode(), json.dumps(token, ensure_ascii=False).encode()


def _piece(token: str) -> tuple[bytes, ...]:
    """Return a piece of SentencePiece: field 1 of its message, by length."""
    text = token.encode()
    return (b"\x0a" + bytes([len(text)]) + text,)
