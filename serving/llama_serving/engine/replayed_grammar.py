"""The grammar of an answer that another engine began: it accepts the tokens so far before the next one is chosen.

vLLM 0.32 starts a grammar with an empty answer, whatever stands in the prompt. An answer that is continued has its
first tokens at the end of the prompt, and ``sampling_params.extra_args[REPLAYED]`` says how many they are. They go
through vLLM's own ``StructuredOutputManager.accept_tokens`` one by one, as if this engine had made them, so reasoning
that comes before the grammar is handled too.

This runs in the process of the engine core, which takes the class of its scheduler from the configuration.
"""

from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from llama_serving.engine.json_strings import correct_json_strings

#: Key in ``extra_args``: number of tokens at the end of the prompt that belong to the answer.
REPLAYED: Final = "llama_replayed"


#: The package that makes grammars of schemas; uv.lock has its version.
GRAMMAR_BACKEND: Final = "xgrammar"


class ReplayError(Exception):
    """The grammar refuses the tokens of the answer so far; the request fails, and no other."""


class _Replays:
    """What both of vLLM's schedulers get: answers that another engine began too."""

    structured_output_manager: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        correct_json_strings()
        super().__init__(*arguments, **options)

    def add_request(self, request: Any) -> None:
        """Take a request of the frontend."""
        replay_grammar(self.structured_output_manager, request)
        super().add_request(request)  # type: ignore[misc]


class ReplayScheduler(_Replays, Scheduler):  # type: ignore[misc]
    """vLLM's scheduler."""


class AsyncReplayScheduler(_Replays, AsyncScheduler):  # type: ignore[misc]
    """The one that is a step ahead."""


_CLASSES: Final[dict[type, type]] = {Scheduler: ReplayScheduler, AsyncScheduler: AsyncReplayScheduler}


def configure_grammars(config: Any) -> None:
    """Let a finished engine config use these schedulers, and one grammar backend whatever a request looks like.

    Raises KeyError for a scheduler that is not one of vLLM's two. With vLLM's backend "auto" a schema that one package
    does not take goes to another, and an answer would be continued by other rules than it was begun.
    """
    config.structured_outputs_config.backend = GRAMMAR_BACKEND
    # Else JSON may have any number of spaces between two tokens, and a small model says them until its limit.
    config.structured_outputs_config.disable_any_whitespace = True
    chosen = _CLASSES[config.scheduler_config.get_scheduler_cls()]
    config.scheduler_config.scheduler_cls = f"{chosen.__module__}.{chosen.__qualname__}"


def replay_grammar(manager: Any, request: Any) -> None:
    """Let the grammar of ``request``, which is still being compiled, accept the answer so far before it is used."""
    structured = request.structured_output_request
    count = _replayed(request)
    if structured is None or not count:
        return
    compiling = structured._grammar  # noqa: SLF001  # the property would wait for nothing and return None
    structured.grammar = manager.executor.submit(_advance, manager, request, compiling=compiling, count=count)


def _replayed(request: Any) -> int:
    extra = request.sampling_params.extra_args if request.sampling_params is not None else None
    return int((extra or {}).get(REPLAYED, 0))


def _advance(manager: Any, request: Any, *, compiling: "Future[Any] | Any", count: int) -> Any:
    """Return the compiled grammar, advanced over the last ``count`` tokens of the prompt.

    The pool runs its jobs in order, so the compilation, which was submitted before, never waits for this.
    """
    grammar = compiling.result() if isinstance(compiling, Future) else compiling
    tokens = request.prompt_token_ids
    begun = len(tokens) - count
    # As the request looked like in the engine that made these tokens, one after the other.
    past = SimpleNamespace(
        request_id=request.request_id,
        use_structured_output=True,
        prompt_token_ids=tokens[:begun],
        all_token_ids=tokens[:begun],
        structured_output_request=replace(request.structured_output_request, _grammar=grammar),
    )
    for number, token in enumerate(tokens[begun:]):
        past.all_token_ids.append(token)
        if not manager.accept_tokens(past, [token]):
            raise ReplayError(f"the grammar refuses token {number} of {count} of the answer so far")
    request.structured_output_request.reasoner = past.structured_output_request.reasoner
    request.structured_output_request.reasoning_ended = past.structured_output_request.reasoning_ended
    return grammar
