"""What a model folder says about tools: which template counts, and which tokens are found."""

import json
from pathlib import Path
from typing import Any

import pytest

from llama_serving.config.chat.inference import TEMPLATE_LIMIT
from llama_serving.weights.model.chat import chat_facts
from tests.unit.config.chat import templates
from tests.unit.weights.model.folders import make_model, write_json


def folder(path: Path, *, jinja: str = "", **config: Any) -> Path:
    found = make_model(path / "m")
    write_json(found / "tokenizer_config.json", config)
    if jinja:
        (found / "chat_template.jinja").write_text(jinja, encoding="utf-8")
    return found


def named(**texts: str) -> list[dict[str, str]]:
    return [{"name": name, "template": text} for name, text in texts.items()]


@pytest.mark.parametrize(
    ("config", "jinja", "origin", "parser"),
    [
        ({}, "", "", ""),
        ({"chat_template": templates.PYTHONIC}, "", "tokenizer_config.json", "pythonic"),
        ({"chat_template": templates.PLAIN}, templates.HERMES, "chat_template.jinja", "hermes"),
        (
            {"chat_template": named(default=templates.PLAIN, tool_use=templates.HERMES)}, "",
            "tokenizer_config.json, template tool_use", "hermes",
        ),
        (
            {"chat_template": named(default=templates.PYTHONIC, rag=templates.HERMES)}, "",
            "tokenizer_config.json, template default", "pythonic",
        ),
        ({"chat_template": named(rag=templates.HERMES)}, "", "", ""),
        ({"chat_template": 7}, "", "", ""),
        ({"chat_template": [7, {"name": "default"}]}, "", "", ""),
    ],
)  # fmt: skip
def test_the_template_is_the_one_that_the_engine_takes_for_tools(
    tmp_path: Path, config: dict[str, Any], *, jinja: str, origin: str, parser: str
) -> None:
    facts = chat_facts(folder(tmp_path, jinja=jinja, **config))
    assert (facts.template, facts.tools) == (origin, parser)


@pytest.mark.parametrize(
    "where",
    [
        {"added_tokens_decoder": {"7": {"content": "<|python_tag|>"}}},
        {"additional_special_tokens": ["<|python_tag|>"]},
        {"extra_special_tokens": {"python": "<|python_tag|>"}},
    ],
)
def test_a_token_of_the_config_is_found(tmp_path: Path, where: dict[str, Any]) -> None:
    facts = chat_facts(folder(tmp_path, chat_template=templates.LLAMA3_JSON, **where))
    assert (facts.tools, facts.tokens) == ("llama3_json", ("<|python_tag|>",))


DEEPSEEK = "<\uff5ctool\u2581calls\u2581begin\uff5c>"


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_token_of_the_tokenizer_is_found_however_it_is_spelled(tmp_path: Path, ascii_only: bool) -> None:
    model = folder(tmp_path)
    content = {"added_tokens": [{"id": 1, "content": DEEPSEEK}], "model": {"vocab": {"<think>": 5, "x</think>": 6}}}
    (model / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=ascii_only), encoding="utf-8")
    assert chat_facts(model).tokens == ("<think>", DEEPSEEK)


def test_a_piece_of_a_sentencepiece_model_is_found(tmp_path: Path) -> None:
    model = folder(tmp_path)
    (model / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x0c[TOOL_CALLS]\x15\x00" + b"\x0a\x08</think>x")
    assert chat_facts(model).tokens == ("</think>", "[TOOL_CALLS]")


def test_a_template_of_the_spec_counts_instead(tmp_path: Path) -> None:
    given = tmp_path / "given.jinja"
    given.write_text(templates.HERMES, encoding="utf-8")
    facts = chat_facts(folder(tmp_path, jinja=templates.PYTHONIC), template=str(given))
    assert (facts.template, facts.tools) == (str(given), "hermes")


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_template_without_end_is_not_kept(tmp_path: Path, name: str) -> None:
    long = templates.HERMES + " " * TEMPLATE_LIMIT
    model = folder(tmp_path, jinja=long) if name.endswith("jinja") else folder(tmp_path, chat_template=long)
    facts = chat_facts(model)
    assert facts.tools == ""
    assert facts.tools_reason == f"the chat template {name} is larger than 1 MiB, which none is"


def test_what_cannot_be_read_leaves_a_model_without_parsers(tmp_path: Path) -> None:
    model = folder(tmp_path)
    (model / "tokenizer_config.json").write_text("{", encoding="utf-8")
    assert "tokenizer_config.json is no JSON" in chat_facts(model).tools_reason
    assert "there is no folder" in chat_facts(tmp_path / "absent").tools_reason
    assert "cannot be read" in chat_facts(folder(tmp_path / "b"), template=str(tmp_path / "absent")).reasoning_reason
