"""vLLM's frontend replays an answer: the given tokens first, then those that the engine makes.

    render     the token ids of the prompt are those of the replay
    generate   yields the given tokens as the engine would have, then asks the engine for what follows them
    outputs    text and log-probabilities of what follows continue those of the given tokens

Everything above (routes, parsers, counts, events) is vLLM's own and does not know of it. Places in vLLM 0.32 that are
hooked have no public form: methods of three objects are replaced, once, in ``install_replays``.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.v1.engine import EngineCoreOutput
from vllm.v1.engine.detokenizer import IncrementalDetokenizer
from vllm.v1.engine.logprobs import LogprobsProcessor
from vllm.v1.outputs import LogprobsLists

from llama_serving.cell.replica.replay.wire import CURRENT, Replay
from llama_serving.engine.replayed_grammar import REPLAYED

_NUMBER = "llama_replay_number"  # beside REPLAYED in extra_args: which of the replays that are starting
# Nothing else makes a replay wait, and other streams are served by the same loop.
_EVENTS_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class _Primed:
    """State of the frontend after the answer so far, put in place of an empty one."""

    replay: Replay
    detokenizer: Any
    logprobs: Any


class ReplayingFrontend:
    """The replays of one engine, between ``generate`` and the state that vLLM makes for each request."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._generate = client.generate
        self._numbers = itertools.count(1)
        self._primed: dict[int, _Primed] = {}

    def generate(self, engine_input: Any, sampling_params: Any, request_id: str, **more: Any) -> AsyncIterator[Any]:
        """Stand in for the engine client's ``generate``."""
        replay = CURRENT.get()
        if replay is None:
            if sampling_params.extra_args:  # a client's vllm_xargs
                for name in (REPLAYED, _NUMBER):
                    sampling_params.extra_args.pop(name, None)
            stock: AsyncIterator[Any] = self._generate(engine_input, sampling_params, request_id, **more)
            return stock
        return self._replayed(replay, engine_input, sampling_params, request_id=request_id, more=more)

    def prime(self, state: Any, sampling_params: Any) -> None:
        """Put the state after the answer so far into vLLM's state of a request."""
        extra = (sampling_params.extra_args if sampling_params is not None else None) or {}
        primed = self._primed.get(extra.get(_NUMBER, 0))
        if primed is None:
            return
        state.prompt_token_ids = list(primed.replay.prompt)
        state.prompt_len = len(state.prompt_token_ids)
        state.detokenizer = primed.detokenizer
        state.sent_tokens_offset = len(primed.replay.tokens)
        state.logprobs_processor = primed.logprobs

    async def _replayed(
        self, replay: Replay, engine_input: Any, params: Any, *, request_id: str, more: dict[str, Any]
    ) -> AsyncIterator[Any]:
        primed = self._empty(replay, params, request_id)
        for number, event in enumerate(replay.made, 1):
            yield _output(request_id, replay, event, **_say(primed, event))
            if number % _EVENTS_AT_A_TIME == 0:
                await asyncio.sleep(0)
        count = len(replay.tokens)
        if params.max_tokens is not None and params.max_tokens <= count:
            yield _output(request_id, replay, (), finish_reason="length")
            return
        key = next(self._numbers)
        self._primed[key] = primed
        rest = self._generate(
            {**engine_input, "prompt_token_ids": [*replay.prompt, *replay.tokens]},
            _rest_of(params, count, key),
            request_id,
            **more,
        )
        try:
            async with contextlib.aclosing(rest):
                async for output in rest:
                    self._primed.pop(key, None)
                    yield output
        finally:
            self._primed.pop(key, None)

    def _empty(self, replay: Replay, params: Any, request_id: str) -> _Primed:
        """Return the state before the first token, made as vLLM makes it for a request."""
        tokenizer = self._client.output_processor.tokenizer if params.detokenize else None
        request = SimpleNamespace(
            request_id=request_id, sampling_params=params, prompt_token_ids=list(replay.prompt), prompt_embeds=None
        )
        return _Primed(
            replay,
            detokenizer=IncrementalDetokenizer.from_new_request(tokenizer, request),
            logprobs=LogprobsProcessor.from_new_request(tokenizer, request),
        )


def install_replays(app_state: Any, client: Any) -> None:
    """Let the frontend of an engine client replay answers; ``app_state`` is that of vLLM's app."""
    frontend = ReplayingFrontend(client)
    client.generate = frontend.generate
    outputs = client.output_processor
    outputs.add_request = _priming(outputs.add_request, frontend, outputs)
    renderer = app_state.online_renderer
    renderer.render_chat = _rendering(renderer.render_chat, inputs_of=lambda made: made[1])
    renderer.render_completion = _rendering(renderer.render_completion, inputs_of=lambda made: made)


def _priming(stock: Callable[..., None], frontend: ReplayingFrontend, outputs: Any) -> Callable[..., None]:
    def add_request(request: Any, *arguments: Any, **more: Any) -> None:
        stock(request, *arguments, **more)
        frontend.prime(outputs.request_states[request.request_id], request.sampling_params)

    return add_request


def _rendering(stock: Callable[..., Any], *, inputs_of: Callable[[Any], Any]) -> Callable[..., Any]:
    async def render(*arguments: Any, **more: Any) -> Any:
        made = await stock(*arguments, **more)
        replay = CURRENT.get()
        if replay is not None and isinstance(made, (tuple, list)):  # else it is an error
            for engine_input in inputs_of(made):
                engine_input["prompt_token_ids"] = list(replay.prompt)
        return made

    return render


def _rest_of(params: Any, count: int, key: int) -> Any:
    """Return the sampling parameters for what follows ``count`` tokens."""
    rest = params.clone()
    rest.max_tokens = None if params.max_tokens is None else params.max_tokens - count
    rest.min_tokens = max(params.min_tokens - count, 0)
    rest.extra_args = {**(params.extra_args or {}), REPLAYED: count, _NUMBER: key}
    return rest


def _say(primed: _Primed, event: Sequence[int]) -> dict[str, Any]:
    """Advance the state by the tokens of an event; return what they say.

    Who asked for the replay has their log-probabilities, so the numbers are none; what the tokens are called counts,
    because the places in the text of later ones follow from it.
    """
    primed.detokenizer.update(list(event), stop_terminated=False)
    if primed.logprobs.num_logprobs is not None:
        tokens = np.array([[token] for token in event])
        known = LogprobsLists(tokens, np.zeros(tokens.shape), np.ones(len(event), dtype=int))
        primed.logprobs.update_from_output(EngineCoreOutput("", list(event), new_logprobs=known))
    logprobs = primed.logprobs.logprobs
    return {
        "text": primed.detokenizer.get_next_output_text(finished=False, delta=True),
        "logprobs": None if logprobs is None else logprobs[-len(event) :],
    }


def _output(request_id: str, replay: Replay, tokens: Sequence[int], **said: Any) -> RequestOutput:
    """Return what the engine's client yields for these tokens."""
    said = {"text": "", "logprobs": None, "finish_reason": None, **said}
    output = CompletionOutput(index=0, token_ids=list(tokens), cumulative_logprob=None, **said)
    return RequestOutput(
        request_id=request_id,
        prompt=None,
        prompt_token_ids=list(replay.prompt),
        prompt_logprobs=None,
        outputs=[output],
        finished=said["finish_reason"] is not None,
    )
