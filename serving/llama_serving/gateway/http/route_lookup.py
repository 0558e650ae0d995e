"""Which requests go to a group: those whose path and method stand in the table of routes, byte for byte.

The path is taken as it was received. An engine decodes it, so a path that only means the same as a listed one
(``%63hat``, ``//``, ``..``, a slash at its end, capitals) is refused, with the listed one in the message.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from llama_serving.config.routes.route import Route, Verdict
from llama_serving.config.routes.table import FAMILIES, PASSED_PATHS, ROUTES

_LONGEST: Final = 200  # characters of a path that are repeated in a message
_LITERAL: Final = {route.path: route for route in ROUTES if "{" not in route.path}
_PATTERNS: Final = tuple(
    (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route.path))), route)
    for route in ROUTES
    if "{" in route.path and route.verdict is Verdict.REFUSED
)
_ONE_MODEL: Final = next(route for route in ROUTES if route.path == "/v1/models/{model}")
_ONE_MODEL_PREFIX: Final = _ONE_MODEL.path.partition("{")[0]
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class RouteRefusal:
    """Why a request goes to no group; ``allow``: the methods that do, where only the method is wrong."""

    status: int
    code: str
    message: str
    allow: tuple[str, ...] = ()


def look_up(method: str, path: str) -> Route | RouteRefusal:
    """Return the route of a request, or why it has none; ``path`` as received, without the query."""
    route = _LITERAL.get(path) or _with_parameter(path)
    if route is None:
        return _unknown(method, path)
    if route.verdict is Verdict.REFUSED:
        return _not_supported(method, path, route.note)
    if method not in route.methods:
        message = f"{path[:_LONGEST]} takes {' and '.join(route.methods)}, not {method[:_LONGEST]}"
        return RouteRefusal(405, "method_not_allowed", message, route.methods)
    return route


def _with_parameter(path: str) -> Route | None:
    # The name of a model may have slashes. An engine that resolves dot segments would leave the route.
    if path.startswith(_ONE_MODEL_PREFIX):
        name = unquote(path.removeprefix(_ONE_MODEL_PREFIX))
        is_name = name and not _CONTROL.search(name) and not {"", ".", ".."} & set(name.split("/"))
        return _ONE_MODEL if is_name else None
    return next((route for pattern, route in _PATTERNS if pattern.fullmatch(path)), None)


def _unknown(method: str, path: str) -> RouteRefusal:
    family = next((note for prefix, note in FAMILIES.items() if path == prefix or path.startswith(f"{prefix}/")), None)
    if family is not None:
        return _not_supported(method, path, family)
    meant = _plain(path)
    remedy = f"did you mean {meant}?" if meant in PASSED_PATHS else f"it serves {', '.join(sorted(PASSED_PATHS))}"
    return RouteRefusal(404, "not_found", f"{method[:_LONGEST]} {path[:_LONGEST]} is not served here; {remedy}")


def _not_supported(method: str, path: str, note: str) -> RouteRefusal:
    return RouteRefusal(404, "not_supported", f"{method[:_LONGEST]} {path[:_LONGEST]} is not served here: {note}")


def _plain(path: str) -> str:
    """Return the path as somebody may have meant it."""
    plain = "/" + "/".join(part for part in unquote(path).lower().split("/") if part not in ("", ".", ".."))
    return plain if plain in PASSED_PATHS or plain.startswith("/v1/") else f"/v1{plain}"
