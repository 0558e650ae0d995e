"""Requests for structured answers are checked before vLLM reads their schemas, and old spellings are understood.

``guided_json`` and the like are what vLLM's requests were called before ``structured_outputs``; vLLM 0.32 ignores them,
so a client that still sends them would get an answer without any constraint.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from vllm.sampling_params import StructuredOutputsParams

from llama_serving.cell.replica.structured.limits import ALTERNATIVES, BYTES, BadSchemaError
from llama_serving.cell.replica.structured.pattern import check_pattern
from llama_serving.cell.replica.structured.schema import check_schema

_GUIDED: Final = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}


def check_structured_answers(app_state: Any) -> None:
    """Have the renderer of vLLM's app refuse schemas that have no grammar, or one that would cost too much."""
    renderer = app_state.online_renderer

    def checked(stock: Any) -> Any:
        async def render(request: Any, **options: Any) -> Any:
            try:
                _understand_guided(request)
                _check(request)
            except BadSchemaError as error:
                return renderer.create_error_response(str(error), param=error.place)
            return await stock(request, **options)

        return render

    renderer.render_chat = checked(renderer.render_chat)
    renderer.render_completion = checked(renderer.render_completion)
    renderer.render_responses = checked(renderer.render_responses)


def _understand_guided(request: Any) -> None:
    given = {
        name: value for name, value in (request.model_extra or {}).items() if name in _GUIDED and value is not None
    }
    if not given:
        return
    if len(given) > 1 or getattr(request, "structured_outputs", None) is not None:
        raise BadSchemaError(min(given), "a request has one of guided_* and structured_outputs")
    name, value = next(iter(given.items()))
    try:
        request.structured_outputs = StructuredOutputsParams(**{_GUIDED[name]: value})
    except (ValueError, TypeError) as error:
        raise BadSchemaError(name, f"{error}"[:300]) from error


def _check(request: Any) -> None:
    answer: Any = getattr(request, "response_format", None)
    if getattr(answer, "type", "") == "json_schema" and answer.json_schema is not None:
        _check_json(answer.json_schema.json_schema, "response_format.json_schema.schema")
    wanted = getattr(request, "structured_outputs", None)
    if wanted is not None:
        _check_wanted(wanted)
    answer = getattr(getattr(request, "text", None), "format", None)  # of /v1/responses
    if getattr(answer, "type", "") == "json_schema":
        _check_json(getattr(answer, "schema_", None), "text.format.schema")
    _check_tools(request)


def _check_wanted(wanted: Any) -> None:
    place = "structured_outputs"
    if wanted.json is not None:
        _check_json(wanted.json, f"{place}.json")
    if wanted.regex is not None:
        check_pattern(wanted.regex, f"{place}.regex")
    if wanted.choice is not None:
        _check_choice(wanted.choice, f"{place}.choice")
    for name in ("grammar", "structural_tag"):
        value = getattr(wanted, name)
        if value is not None:
            _check_bytes(value, f"{place}.{name}")


def _check_tools(request: Any) -> None:
    """Check the parameters of tools where a grammar is made of them: a call is required, or one is strict."""
    choice = getattr(request, "tool_choice", None)
    if choice in (None, "none"):
        return
    for number, tool in enumerate(getattr(request, "tools", None) or ()):
        function = getattr(tool, "function", tool)
        parameters = getattr(function, "parameters", None)
        if parameters and (choice != "auto" or getattr(function, "strict", None)):
            _check_json(parameters, f"tools.{number}.function.parameters")


def _check_json(schema: Any, place: str) -> None:
    if schema is None:
        return
    _check_bytes(schema, place)
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError) as error:
            raise BadSchemaError(place, f"not JSON: {error}"[:300]) from error
    check_schema(schema, place)


def _check_choice(choice: Any, place: str) -> None:
    if not isinstance(choice, list) or not choice or not all(isinstance(text, str) for text in choice):
        raise BadSchemaError(place, "is a list of texts that is not empty")
    if len(choice) > ALTERNATIVES:
        raise BadSchemaError(place, f"{len(choice)} texts; {ALTERNATIVES} are the most")
    _check_bytes(choice, place)


def _check_bytes(value: str | Mapping[str, Any] | list[Any], place: str) -> None:
    try:
        size = len(value if isinstance(value, str) else json.dumps(value))
    except (RecursionError, TypeError, ValueError) as error:
        raise BadSchemaError(place, "not JSON that can be written") from error
    if size > BYTES:
        raise BadSchemaError(place, f"{size} bytes; {BYTES} are the most")
