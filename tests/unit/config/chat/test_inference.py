"""Which parsers a chat template and a tokenizer ask for; nothing else of a model is looked at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.chat.facts import ChatFacts, choose_reasoning, choose_tools, no_tools_sentence
from llama_serving.config.chat.inference import FORMS, infer
from llama_serving.config.chat.parsers import MARKERS, REASONING_PARSERS, TOOL_PARSERS
from tests.unit.config.chat import templates

PYTHON_TAG = frozenset({"<|python_tag|>"})
THINK = frozenset({"<think>", "</think>"})


def facts_of(template: str, tokens: frozenset[str] = frozenset()) -> ChatFacts:
    return infer(template, tokens, origin="chat_template.jinja")


@pytest.mark.parametrize(
    ("template", "tokens", "parser"),
    [
        (templates.LLAMA3_JSON, PYTHON_TAG, "llama3_json"),
        (templates.PYTHONIC, PYTHON_TAG, "pythonic"),
        (templates.PYTHONIC, frozenset(), "pythonic"),
        (templates.LLAMA4_PYTHONIC, frozenset(), "llama4_pythonic"),
        (templates.LLAMA4_JSON, PYTHON_TAG, "llama4_json"),
        (templates.HERMES, PYTHON_TAG, "hermes"),
        (templates.MISTRAL, frozenset({"[TOOL_CALLS]"}), "mistral"),
        (templates.XLAM, PYTHON_TAG, "xlam"),
        (templates.HERMES + "{# <function=a><parameter=b> #}", frozenset(), "qwen3_coder"),
    ],
)
def test_the_form_of_a_call_decides(template: str, tokens: frozenset[str], parser: str) -> None:
    facts = facts_of(template, tokens)
    assert facts.takes_tools
    assert facts.tools == parser
    assert facts.tools_reason.startswith("the chat template writes calls as ")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (templates.PLAIN, "the chat template has no tools"),
        ("{# tools #}{{ 'tools' }} tools {{ message.tool_calls }}", "the chat template has no tools"),
        (templates.SILENT, "shows no form of a call"),
        (templates.LLAMA3_JSON, "needs the token <|python_tag|>, which the tokenizer lacks"),
        (templates.MISTRAL, "needs the token [TOOL_CALLS], which the tokenizer lacks"),
    ],
)
def test_no_parser_comes_with_the_reason(template: str, words: str) -> None:
    facts = facts_of(template)
    assert facts.tools == ""
    assert words in facts.tools_reason
    assert words in no_tools_sentence(choose_tools("auto", facts))


@pytest.mark.parametrize(
    ("template", "tokens", "parser", "words"),
    [
        (templates.R1, THINK, "deepseek_r1", "has it as a token"),
        (templates.R1, frozenset(), "", "lacks <think> or </think> as a token"),
        (templates.HYBRID, THINK, "qwen3", "enable_thinking"),
        (templates.LLAMA3_JSON, THINK, "", "the chat template has no reasoning"),
        ("{{ '[THINK]' }}", frozenset({"[THINK]", "[TOOL_CALLS]"}), "mistral", "[THINK]"),
    ],
)
def test_reasoning_is_found_by_its_tokens(template: str, tokens: frozenset[str], *, parser: str, words: str) -> None:
    facts = facts_of(template, tokens)
    assert (facts.reasoning, words in facts.reasoning_reason) == (parser, True), facts.reasoning_reason


def test_a_model_without_a_template_has_no_parser() -> None:
    facts = infer("", PYTHON_TAG, origin="")
    assert facts == ChatFacts(
        tools_reason="the model has no chat template",
        reasoning_reason="the model has no chat template",
        tokens=("<|python_tag|>",),
    )


@given(
    st.text(alphabet=st.sampled_from("{}%#'\"\\ []tools<>_=:,name|"), max_size=300),
    st.sets(st.sampled_from(sorted(MARKERS))),
)
def test_what_is_inferred_is_never_refused(template: str, tokens: set[str]) -> None:
    """Invariant: auto fits always, whoever wrote the template; and a parser that is named as inferred fits too."""
    facts = infer(template, tokens, origin="t")
    assert set(facts.tokens) == tokens
    assert facts.tools in ("", *TOOL_PARSERS)
    assert facts.reasoning in ("", *REASONING_PARSERS)
    assert facts.tools_reason
    assert facts.reasoning_reason
    for choose, name in ((choose_tools, facts.tools), (choose_reasoning, facts.reasoning)):
        assert not choose("auto", facts).refused
        assert not choose("off", facts).refused
        assert choose("auto", facts).parser == name
        assert not name or choose(name, facts).parser == name


@given(st.sampled_from([form.parser for form in FORMS]))
def test_every_form_names_a_parser_of_the_engine(parser: str) -> None:
    assert parser in TOOL_PARSERS


@pytest.mark.parametrize(
    ("asked", "facts", "words"),
    [
        (
            "llama3_json",
            facts_of(templates.PYTHONIC),
            "which needs the token <|python_tag|>, and the model's tokenizer lacks it: set it to pythonic, which "
            "fits, or to auto",
        ),
        ("deepseek_v3", facts_of(templates.PLAIN), "lacks them: set it to auto"),
        (
            "hermes",
            facts_of(templates.PLAIN),
            "chat_template.jinja puts no tools into the prompt: name one that has them in spec.model.chatTemplate",
        ),
        ("hermes", infer("", frozenset(), origin=""), "the model has no chat template: name one"),
        ("of-a-newer-version", facts_of(templates.HERMES), "which is no parser of this engine"),
    ],
)
def test_a_parser_that_does_not_fit_is_refused_with_the_remedy(asked: str, facts: ChatFacts, words: str) -> None:
    choice = choose_tools(asked, facts)
    assert choice.parser == ""
    assert choice.refused.startswith(f"spec.model.tools is {asked}, ")
    assert words in choice.refused


def test_a_parser_of_reasoning_that_does_not_fit_is_refused() -> None:
    refused = choose_reasoning("deepseek_r1", facts_of(templates.PLAIN)).refused
    assert refused.startswith("spec.model.reasoning is deepseek_r1, which needs the token <think> and </think>")


def test_tools_that_are_off_say_so() -> None:
    sentence = no_tools_sentence(choose_tools("off", facts_of(templates.HERMES)))
    assert (
        sentence == "this model is served without tools: spec.model.tools is off in its LlamaDeployment; set it to auto"
    )
