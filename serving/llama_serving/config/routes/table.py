"""Every route that the pinned vLLM can mount or that OpenAI's clients call, each with a decision.

The gateway passes what is ``PASSED`` here and nothing else, so a route that a later vLLM brings stays closed until
it is listed. ``tests/serving/surface/test_routes.py`` compares the table with what the installed vLLM mounts.

Refused routes are answered 404, not 501: OpenAI's clients repeat every 5xx.
"""

from typing import Final

from llama_serving.config.routes.route import Route, Verdict, Work

_GET: Final = ("GET", "HEAD")
_POST: Final = ("POST",)

_POOLING: Final = (
    "a Llama generates text and has no pooling layer, so there are no embeddings, classes or scores of its own; "
    "deploy an embedding model elsewhere, or use POST /generative_scoring, which scores by probabilities of tokens"
)
_ADAPTERS: Final = "adapters are LlamaAdapter objects in Kubernetes, which every group loads and verifies"
_ENGINE: Final = "it changes or exposes the engine, which is the operator's: edit the LlamaDeployment with kubectl"
_METRICS: Final = "metrics are on port 9000 of each gateway and each leader, inside the cluster"
_DOCS: Final = "the routes are listed in docs/reference/routes.md, and the fields of each in vLLM's documentation"
_SCALE_OUT: Final = "it is internal to vLLM's split into renderer and engine, which a group does not use"
_STORED: Final = "no group stores responses; send all of the conversation in 'input', and wait for the answer"
_SPEECH: Final = "a Llama reads and writes text; deploy a speech model elsewhere"


def _passed(path: str, note: str, *, work: Work, methods: tuple[str, ...] = _POST) -> Route:
    return Route(path=path, methods=methods, verdict=Verdict.PASSED, work=work, note=note)


def _answered(path: str, note: str, *, of_engine: bool) -> Route:
    return Route(path=path, methods=_GET, verdict=Verdict.ANSWERED, note=note, of_engine=of_engine)


def _refused(note: str, *paths: str, methods: tuple[str, ...] = _POST, of_engine: bool = True) -> tuple[Route, ...]:
    return tuple(
        Route(path=path, methods=methods, verdict=Verdict.REFUSED, note=note, of_engine=of_engine) for path in paths
    )


PASSED: Final = (
    _passed("/v1/chat/completions", "chat, with tools and structured answers", work=Work.GENERATES),
    _passed("/v1/chat/completions/batch", "several conversations in one request, not streamed", work=Work.GENERATES),
    _passed("/v1/completions", "completion of text or token ids", work=Work.GENERATES),
    _passed("/v1/responses", "OpenAI's responses, without those that need a store", work=Work.GENERATES),
    _passed("/v1/messages", "Anthropic's messages", work=Work.GENERATES),
    _passed("/v1/messages/count_tokens", "tokens of Anthropic's messages", work=Work.TOKENIZES),
    _passed("/generative_scoring", "probabilities of given tokens after a text", work=Work.SCORES),
    _passed("/tokenize", "token ids of text or of a chat", work=Work.TOKENIZES),
    _passed("/detokenize", "text of token ids", work=Work.TOKENIZES),
    _passed("/v1/models", "the models", work=Work.NONE, methods=_GET),
)

ANSWERED: Final = (
    _answered("/", "200 while the gateway takes requests", of_engine=False),
    _answered("/health", "200 while the gateway takes requests", of_engine=True),
    _answered("/v1/models/{model}", "one model of the list, or 404", of_engine=True),
)

REFUSED: Final = (
    *_refused(_STORED, "/v1/responses/{response_id}", methods=("GET", "DELETE")),
    *_refused(_STORED, "/v1/responses/{response_id}/cancel"),
    *_refused(_STORED, "/v1/responses/{response_id}/input_items", methods=("GET",), of_engine=False),
    *_refused(_POOLING, "/v1/embeddings", "/v2/embed", "/pooling", "/classify"),
    *_refused(_POOLING, "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank"),
    *_refused(_ADAPTERS, "/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
    *_refused(_ENGINE, "/start_profile", "/stop_profile", "/sleep", "/wake_up", "/release_kv_cache_memory"),
    *_refused(_ENGINE, "/is_sleeping", "/is_paused", "/server_info", "/weight_info", "/get_world_size", methods=_GET),
    *_refused(_ENGINE, "/collective_rpc", "/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache"),
    *_refused(_ENGINE, "/pause", "/resume", "/abort_requests", "/inference/v1/abort_requests"),
    *_refused(_ENGINE, "/init_weight_transfer_engine", "/shutdown_weight_transfer_engine", "/start_weight_update"),
    *_refused(_ENGINE, "/start_draft_weight_update", "/update_weights", "/finish_weight_update"),
    *_refused(_ENGINE, "/update_weight_version", "/weight_checker", "/scale_elastic_ep", "/is_scaling_elastic_ep"),
    *_refused(_ENGINE, "/fault_tolerance/apply"),
    *_refused(_ENGINE, "/fault_tolerance/status", "/kv_event_sources", "/tokenizer_info", methods=_GET),
    *_refused(_METRICS, "/metrics", "/load", "/version", methods=_GET),
    *_refused(_DOCS, "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc", methods=_GET),
    *_refused("load balancers ask GET /health", "/ping", methods=("GET", "POST")),
    *_refused("it hides which route is meant; use the routes below /v1/", "/invocations"),
    *_refused(_SCALE_OUT, "/v1/chat/completions/render", "/v1/completions/render", "/v1/responses/render"),
    *_refused(_SCALE_OUT, "/v1/messages/render", "/v1/chat/completions/derender", "/v1/completions/derender"),
    *_refused(_SCALE_OUT, "/inference/v1/generate"),
    *_refused("vLLM serves it for other architectures only; use 'response_format' in a chat", "/v1/systemone"),
    *_refused("use POST /v1/chat/completions", "/cohere/v2/chat", "/cohere/v2/chat/render"),
    *_refused(_SPEECH, "/v1/audio/transcriptions", "/v1/audio/translations"),
    *_refused(_SPEECH, "/v1/audio/speech", of_engine=False),
    *_refused(_SPEECH, "/v1/realtime", methods=("GET",)),
)

#: What OpenAI's clients can also ask for: every path that begins so. No engine has them.
FAMILIES: Final[dict[str, str]] = {
    "/v1/assistants": "assistants and their threads need a store, which a deployment has not",
    "/v1/batches": "a deployment keeps no files and no jobs; send the requests themselves",
    "/v1/containers": "a deployment runs no code for its users",
    "/v1/conversations": "no group stores conversations; send all of it in 'input' or 'messages'",
    "/v1/evals": "a deployment keeps no files and no jobs; send the requests themselves",
    "/v1/files": "a deployment keeps no files; put the text into the prompt",
    "/v1/fine_tuning": "a deployment trains nothing; train elsewhere, then serve the result as LlamaWeights",
    "/v1/images": "a Llama writes text; deploy an image model elsewhere",
    "/v1/moderations": "there is no moderation model; serve Llama Guard as another deployment and ask it in a chat",
    "/v1/threads": "assistants and their threads need a store, which a deployment has not",
    "/v1/uploads": "a deployment keeps no files; put the text into the prompt",
    "/v1/vector_stores": "a deployment keeps no files; put the text into the prompt",
    "/v1/videos": "a Llama writes text; deploy a video model elsewhere",
}

ROUTES: Final = (*PASSED, *ANSWERED, *REFUSED)

#: Paths that a replica mounts for its users.
PASSED_PATHS: Final = frozenset(route.path for route in PASSED)
