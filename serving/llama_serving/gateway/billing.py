"""What a request is billed: what its engine says, or what is known where the engine said nothing.

A stream whose client did not ask for the usage has its engine asked, and the event is taken out. Of an answer that was
not sent whole, its client is billed what was sent: the prompt from the first byte on, and the tokens that went out.
"""

from llama_serving.gateway.access.pure.asking import asks_for_stream, with_usage
from llama_serving.gateway.access.pure.usage import Usage
from llama_serving.gateway.continuation.pure.chunk import PROMPT_IDS
from llama_serving.gateway.continuation.pure.request import CHAT, TEXT, ContinuableRequest
from llama_serving.gateway.fields.scanner import Body
from llama_serving.gateway.http.request_context import RequestContext


def ask_for_usage(
    context: RequestContext, path: str, body: Body, *, continuable: ContinuableRequest | None
) -> tuple[Body, ContinuableRequest | None]:
    """Return a stream's body with a request for its usage; other bodies as they are."""
    visit = context.visit
    if visit is None or path not in (CHAT, TEXT) or "content-encoding" in context.request.headers:
        return body, continuable
    if not context.wants_stream and not (context.unread and asks_for_stream(path, body)):
        return body, continuable
    body, continuable, visit.meter.hides = with_usage(body, continuable)
    return body, continuable


def count_prompt(context: RequestContext, first: bytes) -> None:
    """Note the number of tokens of a prompt from the first event of a stream that can be continued."""
    at = first.find(PROMPT_IDS)
    end = first.find(b"]", at + len(PROMPT_IDS)) if at >= 0 else -1
    if context.visit is not None and end >= 0:
        context.visit.prompt_tokens = first.count(b",", at + len(PROMPT_IDS), end) + 1


def used_by(context: RequestContext) -> Usage | None:
    """Return what an ended request is billed; None where its client got nothing of a group."""
    visit = context.visit
    if visit is None or context.size is None or context.first_byte is None:
        return None
    told = visit.meter.usage()
    if told is not None:
        return told
    if context.code >= 400:
        return Usage()  # an error of the engine: it has answered nothing
    prompt = visit.prompt_tokens
    return Usage(visit.expected if prompt is None else prompt, 0, context.tokens, estimated=prompt is None)


def worked_for(context: RequestContext) -> int:
    """Return the tokens that count for the limits where a client left before the first byte: a group had the prompt."""
    return context.visit.expected if context.visit is not None and context.used else 0
