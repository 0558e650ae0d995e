"""Why a request is not let in, in the words and the shape of OpenAI's API."""

import math
from collections.abc import Mapping


class AccessDeniedError(Exception):
    """A request that is not let in; the other values are for the answer. ``retry_after`` in whole seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.headers = headers or {}


_ASK_FOR_KEY = {"www-authenticate": "Bearer"}


def not_told() -> AccessDeniedError:
    """Return the answer while nobody knows who may call."""
    message = "keys are required, and this gateway has not been able to read them yet"
    return AccessDeniedError(503, message, code="access_unknown", retry_after=2)


def no_key() -> AccessDeniedError:
    """Return the answer to a request without a key."""
    message = "You didn't provide an API key: send it as 'Authorization: Bearer KEY', or in the header api-key"
    return AccessDeniedError(401, message, code="missing_api_key", headers=_ASK_FOR_KEY)


def wrong_key() -> AccessDeniedError:
    """Return the answer to a key that does not exist, or does not any more; nothing of it is repeated."""
    message = "Incorrect API key provided: it does not exist, or was revoked"
    return AccessDeniedError(401, message, code="invalid_api_key", headers=_ASK_FOR_KEY)


def expired_key(name: str, *, ago: float) -> AccessDeniedError:
    """Return the answer to a key whose time is over; ``ago`` in seconds."""
    message = f"the API key {name!r} expired {ago:.0f} s ago: ask for a new one"
    return AccessDeniedError(401, message, code="expired_api_key", headers=_ASK_FOR_KEY)


def model_denied(name: str, model: str) -> AccessDeniedError:
    """Return the answer to a model that a key may not ask for."""
    message = f"the API key {name!r} may not ask for the model {model[:256]!r}: GET /v1/models lists those it may"
    return AccessDeniedError(403, message, code="model_not_allowed", param="model")


def model_unknown(name: str) -> AccessDeniedError:
    """Return the answer to a body that does not show which model it is for, to a key that may not ask for all."""
    message = (
        f"the API key {name!r} may ask for some models only, and this body does not show which it is for:"
        " send JSON without a content-encoding, with one field 'model' in plain letters"
    )
    return AccessDeniedError(403, message, code="model_not_allowed", param="model")


def over_limit(message: str, *, seconds: float, headers: Mapping[str, str]) -> AccessDeniedError:
    """Return the answer to a client that has taken what it may; ``seconds``: when it may have more."""
    after = max(math.ceil(seconds), 1)
    return AccessDeniedError(
        429, f"{message}; try again in {after} s", code="rate_limit_exceeded", retry_after=after, headers=headers
    )
