"""A grammar that accepted the tokens of another engine allows the same next token as the one that made them."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.serving, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.sampling_params import SamplingParams, StructuredOutputsParams  # noqa: E402
from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # noqa: E402
from vllm.v1.core.sched.scheduler import Scheduler  # noqa: E402
from vllm.v1.request import Request  # noqa: E402
from vllm.v1.structured_output import StructuredOutputManager  # noqa: E402

from llama_serving.engine.replayed_grammar import (  # noqa: E402
    GRAMMAR_BACKEND,
    REPLAYED,
    ReplayError,
    configure_grammars,
    replay_grammar,
)
from tests.serving.replay.models import THINKING, make_model  # noqa: E402

PROMPT = [0, 7, 9]
SCHEMA = {"type": "object", "properties": {"größe": {"enum": ["é🙂", 5]}}, "required": ["größe"]}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "json": ({"json": SCHEMA}, '{"größe":"é🙂"}'),
    "json_object": ({"json_object": True}, '{"a":["x"]}'),
    "regex": ({"regex": "[a-z]{3}-(é|🙂)+"}, "abc-é🙂"),
    "grammar": ({"grammar": 'root ::= "yes" | "nötig"'}, "nötig"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "model", THINKING)


def manager(model: Path, reasoning: str = "") -> StructuredOutputManager:
    config = AsyncEngineArgs(
        model=str(model), max_model_len=256, max_num_seqs=4, enforce_eager=True, reasoning_parser=reasoning
    ).create_engine_config()
    configure_grammars(config)
    return StructuredOutputManager(config)


def request(prompt: list[int], constraint: dict[str, Any], *, replayed: int = 0) -> Request:
    structured = StructuredOutputsParams(**constraint)
    structured._backend = GRAMMAR_BACKEND
    params = SamplingParams(structured_outputs=structured, extra_args={REPLAYED: replayed} if replayed else None)
    return Request(request_id="r", prompt_token_ids=prompt, sampling_params=params, pooling_params=None)


def ready(grammars: StructuredOutputManager, asked: Request) -> Any:
    grammars.grammar_init(asked)
    replay_grammar(grammars, asked)
    deadline = time.monotonic() + 60
    while not asked.structured_output_request.is_grammar_ready:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return asked.structured_output_request.grammar


def allowed(grammars: StructuredOutputManager, asked: Request) -> Any:
    return np.array(grammars.grammar_bitmask({"r": asked}, ["r"], {}), copy=True)


def undisturbed(grammars: StructuredOutputManager, constraint: dict[str, Any], tokens: list[int]) -> list[Any]:
    asked = request(PROMPT, constraint)
    ready(grammars, asked)
    masks = [allowed(grammars, asked)]
    for token in tokens:
        asked.append_output_token_ids(token)
        assert grammars.accept_tokens(asked, [token])
        masks.append(allowed(grammars, asked))
    return masks


@pytest.mark.parametrize("reasoning", ["", "deepseek_r1"])
def test_after_every_token_the_same_is_allowed(model: Path, reasoning: str) -> None:
    grammars = manager(model, reasoning)
    for constraint, text in CASES.values():
        said = f"Hm, {text[:2]}</think>{text}" if reasoning else text
        tokens = grammars.tokenizer.encode(said, add_special_tokens=False)
        want = undisturbed(grammars, constraint, tokens)
        for made in range(1, len(tokens)):
            asked = request([*PROMPT, *tokens[:made]], constraint, replayed=made)
            ready(grammars, asked)
            assert (allowed(grammars, asked) == want[made]).all(), (text, made)
            for number, token in enumerate(tokens[made:], made + 1):
                asked.append_output_token_ids(token)
                assert grammars.accept_tokens(asked, [token])
                assert (allowed(grammars, asked) == want[number]).all(), (text, made, number)
        assert any((mask != want[0]).any() for mask in want)


def test_a_grammar_that_refuses_what_was_said_fails_this_request_alone(model: Path) -> None:
    grammars = manager(model)
    tokens = grammars.tokenizer.encode("yes or no", add_special_tokens=False)
    refused = ready(grammars, request([*PROMPT, *tokens], {"grammar": 'root ::= "yes"'}, replayed=len(tokens)))
    assert isinstance(refused, ReplayError)
    assert "refuses token" in str(refused)
    assert not isinstance(ready(grammars, request(PROMPT, {"grammar": 'root ::= "yes"'})), Exception)


@pytest.mark.parametrize(("ahead", "base"), [(True, AsyncScheduler), (False, Scheduler)])
def test_vllm_finds_our_scheduler_in_its_config(model: Path, *, ahead: bool, base: type) -> None:
    config = AsyncEngineArgs(model=str(model), max_model_len=256).create_engine_config()
    config.scheduler_config.async_scheduling = ahead  # vLLM decides by the device, and on CPU it is never ahead
    configure_grammars(config)
    found = config.scheduler_config.get_scheduler_cls()
    assert issubclass(found, base)
    assert found is not base
    assert config.structured_outputs_config.backend == "xgrammar"
