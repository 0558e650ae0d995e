"""A call that a request asks for is valid whatever the model wants: its grammar, walked by chance, then parsed.

The parser is asked as vLLM's frontend asks it; chance stands for the model. So no engine runs.
"""

import json
import random
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from llama_serving.config.chat.facts import ParserChoice
from llama_serving.config.chat.parsers import MARKERS

pytestmark = [
    pytest.mark.serving,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs the serving environment"),
]

LONGEST = 2000  # tokens of a walk; chance may list many calls
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Turin", "Tromsø"]}, "days": {"enum": [1, 2, 7]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
PARSERS = ("hermes", "llama3_json", "pythonic", "llama4_pythonic", "xlam")
NAMED = {"type": "function", "function": {"name": "clock"}}


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


def request_of(choice: Any, *, parallel: bool, strict: bool | None = None) -> Any:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    more = {} if strict is None else {"strict": strict}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": PARAMETERS, **more}}
        for name in ("weather", "clock")
    ]
    messages = [{"role": "user", "content": "hi"}]
    return ChatCompletionRequest.model_validate(
        {"model": "m", "messages": messages, "tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel}
    )


def parser_of(name: str, tokenizer: Any) -> Any:
    """The parser of an app that was prepared as the replica prepares it."""
    from vllm.parser import ParserManager

    from llama_serving.cell.replica.tool_requests import prepare_tool_requests

    made = ParserManager.get_parser(tool_parser_name=name, enable_auto_tools=True, tokenizer=tokenizer)
    state = SimpleNamespace(online_renderer=SimpleNamespace(parser=made))
    prepare_tool_requests(state, ParserChoice(name))
    return state.online_renderer.parser


def grammar_of(asked: Any, tokenizer: Any) -> Any:
    import xgrammar

    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    compiler = xgrammar.GrammarCompiler(info)
    found = asked.structured_outputs
    if found.structural_tag:
        return compiler.compile_structural_tag(found.structural_tag)
    return compiler.compile_json_schema(json.dumps(found.json), any_whitespace=False)  # or chance makes little else


def walk(grammar: Any, tokenizer: Any, chance: random.Random) -> str:
    """A text that the grammar allows, token by token; chance takes every other end, or it would list calls for ever."""
    import torch
    import xgrammar

    matcher, closing = xgrammar.GrammarMatcher(grammar), tokenizer.convert_tokens_to_ids("]")
    mask = xgrammar.allocate_token_bitmask(1, len(tokenizer))
    tokens: list[int] = []
    while len(tokens) < LONGEST and not matcher.is_terminated():
        matcher.fill_next_token_bitmask(mask)
        logits = torch.zeros(1, len(tokenizer))
        xgrammar.apply_token_bitmask_inplace(logits, mask)
        allowed = torch.nonzero(logits[0] == 0).flatten().tolist()
        ends = [token for token in (tokenizer.eos_token_id, closing) if token in allowed]
        token = ends[0] if ends and chance.random() < 0.5 else chance.choice(allowed)
        assert matcher.accept_token(token)
        tokens.append(token)
    assert matcher.is_terminated(), tokenizer.decode(tokens)
    return str(tokenizer.decode([one for one in tokens if one != tokenizer.eos_token_id]))


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
@pytest.mark.parametrize("parallel", [True, False])
def test_a_call_that_is_asked_for_is_valid_by_any_model(
    tokenizer: Any, parser: str, *, choice: Any, parallel: bool
) -> None:
    made = parser_of(parser, tokenizer)
    asked = made(tokenizer, request_of(choice, parallel=parallel).tools).adjust_request(
        request_of(choice, parallel=parallel)
    )
    grammar = grammar_of(asked, tokenizer)
    for seed in range(10):
        text = walk(grammar, tokenizer, random.Random(seed))
        _, content, calls = made(tokenizer, asked.tools).parse(text, asked, enable_auto_tools=True)
        assert calls, text
        assert not content, text
        assert parallel or len(calls) == 1, text
        for call in calls:
            arguments = json.loads(call.arguments)
            assert call.name in (("clock",) if choice is NAMED else ("weather", "clock"))
            assert set(arguments) == {"city", "days"}, text
            assert arguments["city"] in PARAMETERS["properties"]["city"]["enum"], text
            assert arguments["days"] in PARAMETERS["properties"]["days"]["enum"], text


@pytest.mark.parametrize("parser", ["hermes", "llama3_json"])
def test_a_tool_that_says_it_is_loose_is_left_so(tokenizer: Any, parser: str) -> None:
    made = parser_of(parser, tokenizer)
    loose, held = (request_of("required", parallel=True, strict=strict) for strict in (False, None))
    tags = [made(tokenizer, one.tools).adjust_request(one).structured_outputs.structural_tag for one in (loose, held)]
    assert "Oslo" not in tags[0]
    assert "Oslo" in tags[1]


@pytest.mark.parametrize("parser", PARSERS)
def test_a_free_choice_is_not_constrained(tokenizer: Any, parser: str) -> None:
    asked = request_of("auto", parallel=True)
    assert parser_of(parser, tokenizer)(tokenizer, asked.tools).adjust_request(asked).structured_outputs is None
