"""What a request with tools is told where no parser reads the calls: why, and the field of the spec to set.

vLLM would name flags of its command line, which nobody here can set, and answer a request of the Responses API without
looking at its tools.
"""

from http import HTTPStatus
from typing import Any

from llama_serving.config.chat.facts import ParserChoice, no_tools_sentence


def explain_missing_tools(state: Any, choice: ParserChoice) -> None:
    """Have the renderer of vLLM's app (``state``) refuse requests with tools, where ``choice`` has no parser."""
    if choice.parser:
        return
    sentence, renderer = no_tools_sentence(choice), state.online_renderer

    def guarded(render: Any) -> Any:
        async def render_or_refuse(request: Any, **options: Any) -> Any:
            if request.tools and request.tool_choice not in (None, "none"):
                return renderer.create_error_response(sentence, status_code=HTTPStatus.BAD_REQUEST, param="tools")
            return await render(request, **options)

        return render_or_refuse

    renderer.render_chat = guarded(renderer.render_chat)
    renderer.render_responses = guarded(renderer.render_responses)
