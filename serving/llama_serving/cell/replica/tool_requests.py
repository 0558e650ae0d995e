"""Requests with tools, where stock vLLM 0.32 answers otherwise than a client of the OpenAI API expects.

Without a parser vLLM names flags of its command line, which nobody here can set, and the Responses API goes on as if
there were no tools: such a request is told why, and the field of the spec to set. With ``tool_choice`` required or a
function, vLLM holds the arguments to their schema only for tools with ``strict: true``: here they are held to it unless
a tool says ``strict: false``.
"""

from http import HTTPStatus
from typing import Any

from llama_serving.config.chat.facts import ParserChoice, no_tools_sentence


def prepare_tool_requests(state: Any, choice: ParserChoice) -> None:
    """Change the renderer of vLLM's app (``state``) for a group that uses the parser of ``choice``, or none."""
    renderer = state.online_renderer
    if choice.parser:
        renderer.parser = _pinned(renderer.parser)
        return
    sentence = no_tools_sentence(choice)
    renderer.render_chat = _refusing(renderer, renderer.render_chat, sentence=sentence)
    renderer.render_responses = _refusing(renderer, renderer.render_responses, sentence=sentence)


def _refusing(renderer: Any, render: Any, *, sentence: str) -> Any:
    async def render_or_refuse(request: Any, **options: Any) -> Any:
        if request.tools and request.tool_choice not in (None, "none"):
            return renderer.create_error_response(sentence, status_code=HTTPStatus.BAD_REQUEST, param="tools")
        return await render(request, **options)

    return render_or_refuse


def _pinned(parser: Any) -> Any:
    """Return the parser with grammars that hold the arguments of a call that was asked for to their schema."""
    from vllm.tool_parsers.tool_strict_level import ToolStrictLevel

    class PinnedParser(parser):  # type: ignore[misc]
        def adjust_request(self, request: Any) -> Any:
            if request.tool_choice not in (None, "auto", "none") and not _is_loose(request.tools or ()):
                self.tool_strict_level = ToolStrictLevel.PARAMETER
            return super().adjust_request(request)

    return PinnedParser


def _is_loose(tools: Any) -> bool:
    """Return whether a tool says ``strict: false``; of the Chat Completions API it says so in its function."""
    return any(getattr(getattr(tool, "function", tool), "strict", None) is False for tool in tools)
