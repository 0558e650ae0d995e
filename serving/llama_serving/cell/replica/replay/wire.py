"""What a gateway asks for, and which replay the present request is."""

import json
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

CHAT: Final = "/v1/chat/completions"
TEXT: Final = "/v1/completions"

#: Bytes of a request for a replay: one of a client (4 MiB), and two contexts of 131,072 tokens as text.
MAX_BODY: Final = 8 << 20


class ReplayRefusedError(Exception):
    """A request for a replay that has not the agreed form; the message is a clause."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Token ids of the prompt, and of the answer so far by the events in which they were sent."""

    prompt: Sequence[int]
    made: Sequence[Sequence[int]]

    @property
    def tokens(self) -> list[int]:
        """Token ids of the answer so far."""
        return [token for event in self.made for token in event]


#: The replay that the request being handled is; None for all others. Set by the middleware, so no body can bring it.
CURRENT: Final[ContextVar[Replay | None]] = ContextVar("replay", default=None)


def read(body: bytes) -> tuple[str, bytes, Replay]:
    """Return the route, the body for it, and the replay; raises ReplayRefusedError."""
    try:
        asked = json.loads(body)
        path, request = asked["path"], dict(asked["request"])
        replay = Replay(_ids(asked["prompt"]), [_ids(event) for event in asked["made"]])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReplayRefusedError(f"a replay needs path, request, prompt and made ({type(error).__name__})") from error
    if path not in (CHAT, TEXT) or request.get("stream") is not True or not replay.prompt:
        raise ReplayRefusedError(f"only streams of {CHAT} and {TEXT} with a prompt are replayed, not {path!r:.80}")
    return path, json.dumps(request | _stand_in(path)).encode(), replay


def _ids(value: Any) -> list[int]:
    if not isinstance(value, list) or not all(type(token) is int and token >= 0 for token in value):
        raise TypeError("not a list of token ids")
    return value


def _stand_in(path: str) -> dict[str, Any]:
    """Return a prompt that every chat template takes; its tokens are replaced by those of the replay."""
    return {"messages": [{"role": "user", "content": "."}]} if path == CHAT else {"prompt": [0]}
