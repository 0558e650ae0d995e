"""Our tables of parsers against the pinned vLLM: names, tokens, the template, and texts as Llamas write them."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from llama_serving.config.chat.inference import infer
from llama_serving.config.chat.parsers import MARKERS, REASONING_PARSERS, TOOL_PARSERS
from llama_serving.weights.model.chat import chat_facts
from tests.unit.config.chat import templates

pytestmark = [
    pytest.mark.serving,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs the serving environment"),
]

#: Needs a template of responses in tokenizer_config.json, which is no token.
OF_RESPONSES = "hf"
#: Needs single words of its vocabulary, which every large vocabulary has.
OF_WORDS = "olmo3"


class Vocabulary(dict[str, int]):
    """Has every token but one, and remembers which it was asked for."""

    def __init__(self, lacks: str = "") -> None:
        super().__init__()
        self.asked: set[str] = set()
        self.lacks = lacks

    def _has(self, token: object) -> bool:
        self.asked.add(str(token))
        return token != self.lacks

    def get(self, token: str, default: Any = None) -> Any:
        return len(token) if self._has(token) else default

    def __contains__(self, token: object) -> bool:
        return self._has(token)

    def __getitem__(self, token: str) -> int:
        if not self._has(token):
            raise KeyError(token)
        return len(token)


class Tokenizer:
    """As much of a tokenizer as a parser looks at when it is made."""

    chat_template = None
    eos_token_id = unk_token_id = 0

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocab = vocabulary
        self.init_kwargs: dict[str, Any] = {}

    def get_vocab(self) -> Vocabulary:
        return self.vocab

    def encode(self, _text: str, **_: Any) -> list[int]:
        return [1]

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return None if token == self.vocab.lacks else self.vocab[token]


def needed(parser: Any) -> set[str]:
    """The tokens without which a parser is not made."""
    whole = Vocabulary()
    parser(Tokenizer(whole))
    return {token for token in whole.asked if fails(parser, token)}


def fails(parser: Any, lacking: str) -> bool:
    try:
        parser(Tokenizer(Vocabulary(lacking)))
    except Exception:
        return True
    return False


def test_the_names_are_those_of_the_engine() -> None:
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    assert set(TOOL_PARSERS) == set(ToolParserManager.list_registered())
    assert set(REASONING_PARSERS) == set(ReasoningParserManager.list_registered())


def test_the_tokens_are_those_that_the_engine_needs() -> None:
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    tools = {name: needed(ToolParserManager.get_tool_parser(name)) for name in TOOL_PARSERS if name != OF_RESPONSES}
    assert tools == {name: set(tokens) for name, tokens in TOOL_PARSERS.items() if name != OF_RESPONSES}
    others = {OF_RESPONSES, OF_WORDS}
    reasoning = {
        name: needed(ReasoningParserManager.get_reasoning_parser(name)) for name in REASONING_PARSERS.keys() - others
    }
    assert reasoning == {name: set(tokens) for name, tokens in REASONING_PARSERS.items() if name not in others}


CALLS = {
    "llama3_json": (templates.LLAMA3_JSON, ['{"name": "weather", "parameters": {"city": "Troms\u00f8", "days": 2}}']),
    "pythonic": (templates.PYTHONIC, ["[weather(city='Troms\u00f8', days=2)]"]),
    "llama4_pythonic": (
        templates.LLAMA4_PYTHONIC,
        ["<|python_start|>[weather(city='Troms\u00f8', days=2)]<|python_end|>"],
    ),
    "hermes": (
        templates.HERMES,
        ['<tool_call>\n{"name": "weather", "arguments": {"city": "Troms\u00f8", "days": 2}}\n</tool_call>'],
    ),
    "mistral": (
        templates.MISTRAL,
        ['[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Troms\u00f8", "days": 2}}]'],
    ),
    "xlam": (templates.XLAM, ['[{"name": "weather", "arguments": {"city": "Troms\u00f8", "days": 2}}]']),
}
TWICE = {
    "llama3_json": '{"name": "weather", "parameters": {"city": "a"}}; {"name": "weather", "parameters": {"city": "b"}}',
    "pythonic": "[weather(city='a'), weather(city='b')]",
    "llama4_pythonic": "[weather(city='a'), weather(city='b')]",
    "hermes": '<tool_call>{"name": "weather", "arguments": {"city": "a"}}</tool_call>\n'
    '<tool_call>{"name": "weather", "arguments": {"city": "b"}}</tool_call>',
    "mistral": '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "a"}}, '
    '{"name": "weather", "arguments": {"city": "b"}}]',
    "xlam": '[{"name": "weather", "arguments": {"city": "a"}}, {"name": "weather", "arguments": {"city": "b"}}]',
}


def calls_in(tokenizer: Any, parser: str, text: str) -> list[tuple[str, Any]]:
    """What the engine's parser reads in a whole answer."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager

    request = ChatCompletionRequest.model_validate(
        {
            "model": "m", "messages": [], "tool_choice": "auto",
            "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
        }
    )  # fmt: skip
    made = ToolParserManager.get_tool_parser(parser)(tokenizer)
    found = made.extract_tool_calls(text, request)
    return [(call.function.name, json.loads(call.function.arguments)) for call in found.tool_calls]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real tokenizer that has every token which some parser needs."""
    from transformers import AutoTokenizer

    from testbed.models.tiny import make

    folder = tmp_path_factory.mktemp("tokenizer")
    make(folder, seed=1)
    made = AutoTokenizer.from_pretrained(folder)
    made.add_tokens(sorted(MARKERS))
    return made


@pytest.mark.parametrize("parser", CALLS)
def test_what_a_template_teaches_is_what_its_parser_reads(tokenizer: Any, parser: str) -> None:
    template, texts = CALLS[parser]
    assert infer(template, MARKERS, origin="t").tools == parser
    for text in texts:
        assert calls_in(tokenizer, parser, text) == [("weather", {"city": "Troms\u00f8", "days": 2})]


@pytest.mark.parametrize("parser", TWICE)
def test_two_calls_in_one_answer_are_two(tokenizer: Any, parser: str) -> None:
    assert calls_in(tokenizer, parser, TWICE[parser]) == [("weather", {"city": "a"}), ("weather", {"city": "b"})]


def test_reasoning_of_a_distill_is_read(tokenizer: Any) -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.reasoning import ReasoningParserManager

    parser = infer(templates.R1, MARKERS, origin="t").reasoning
    made = ReasoningParserManager.get_reasoning_parser(parser)(tokenizer)
    request = ChatCompletionRequest.model_validate({"model": "m", "messages": []})
    assert made.extract_reasoning("two and two</think>four", request) == ("two and two", "four")


def test_the_template_that_is_judged_is_the_one_that_transformers_takes(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from testbed.models.tiny import make

    make(tmp_path, seed=1)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    named = [
        {"name": "default", "template": templates.PLAIN},
        {"name": "tool_use", "template": templates.HERMES},
    ]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": named}), encoding="utf-8")
    assert chat_facts(tmp_path).template == "chat_template.jinja"
    assert AutoTokenizer.from_pretrained(tmp_path).get_chat_template(tools=[{}]) != templates.HERMES
    (tmp_path / "chat_template.jinja").unlink()
    assert chat_facts(tmp_path).template == "tokenizer_config.json, template tool_use"
    assert AutoTokenizer.from_pretrained(tmp_path).get_chat_template(tools=[{}]) == templates.HERMES


def test_the_tokens_that_are_found_are_those_of_the_tokenizer(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    assert set(chat_facts(tmp_path).tokens) == MARKERS & tokenizer.get_vocab().keys() == MARKERS
