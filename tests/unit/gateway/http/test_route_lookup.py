"""Which requests go to a group: only those of the table, however their path is spelled."""

from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llama_serving.config.routes.route import Route, Verdict
from llama_serving.config.routes.table import PASSED, PASSED_PATHS, REFUSED, ROUTES
from llama_serving.gateway.http.route_lookup import RouteRefusal, look_up

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "post", "")
TRICKS = (
    "//",
    "/./",
    "/../",
    "%2f",
    "%2F",
    "%2e",
    "%2e%2e/",
    "%",
    "%00",
    ";",
    "\\",
    "/",
    "?",
    "#",
    " ",
    "\u00df",
    "%25",
)
paths = st.sampled_from([route.path for route in ROUTES])


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A listed path with changes that an engine or a proxy may undo."""
    path = draw(paths)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(path)))
        match draw(st.integers(0, 4)):
            case 0:
                path = path[:at] + draw(st.sampled_from(TRICKS)) + path[at:]
            case 1:
                path = path[:at] + "".join(f"%{ord(letter) & 255:02x}" for letter in path[at : at + 1]) + path[at + 1 :]
            case 2:
                path = path[:at] + path[at:].upper()
            case 3:
                path = draw(st.sampled_from(("/v1", "/v1/..", "/v1/models/..", "/v1/models/x/..", ""))) + path
            case _:
                path += draw(st.sampled_from(("/", "//", "/.", "/..", "%2f", ".json", "?x", ";x", "%20")))
    return path


def normal_forms(path: str) -> set[str]:
    """What servers make of a path: decoded once and twice, slashes joined, dot segments resolved, in small letters."""
    found = {path}
    for _ in range(3):
        found |= {unquote(each) for each in found}
        found |= {each.replace("//", "/").rstrip("/") or "/" for each in found}
        found |= {resolved(each) for each in found}
        found |= {each.partition(";")[0].partition("#")[0].lower() for each in found}
    return found


def resolved(path: str) -> str:
    kept: list[str] = []
    for part in path.split("/"):
        if part == ".." and kept:
            kept.pop()
        elif part not in (".", ".."):
            kept.append(part)
    return "/".join(kept) or "/"


@given(path=spellings(), method=st.sampled_from(METHODS))
@example(path="/v1/models/..%2f..%2fsleep", method="GET")
@example(path="/v1/models/%2e%2e/%2e%2e/collective_rpc", method="GET")
@example(path="//v1/load_lora_adapter", method="POST")
def test_no_spelling_of_another_route_reaches_a_group(path: str, method: str) -> None:
    found = look_up(method, path)
    if isinstance(found, RouteRefusal):
        assert found.status in (404, 405)
        return
    assert method in found.methods
    assert found.verdict is not Verdict.REFUSED
    if path != found.path:  # the one route with a parameter, which GET reads
        assert (found.path, method in ("GET", "HEAD")) == ("/v1/models/{model}", True)
        forms = normal_forms(path)
        assert all(form.startswith("/v1/models/") for form in forms if form.startswith("/") and "%25" not in path), (
            forms
        )


@given(path=st.text(st.characters(max_codepoint=255), max_size=60), method=st.text(max_size=8))
def test_any_text_has_an_answer(path: str, method: str) -> None:
    found = look_up(method, path)
    if isinstance(found, Route):
        assert found.path == path or path.startswith("/v1/models/")
    else:
        assert len(found.message) < 2000


@given(path=st.text(max_size=9).map(lambda part: (part + "x") * 9000))
def test_a_message_is_bounded(path: str) -> None:
    found = look_up(path, f"/{quote(path)}")
    assert isinstance(found, RouteRefusal)
    assert len(found.message) < 2000


@pytest.mark.parametrize("route", PASSED, ids=lambda route: route.path)
def test_what_is_passed_takes_its_methods_and_no_other(route: Route) -> None:
    for method in METHODS:
        found = look_up(method, route.path)
        if method in route.methods:
            assert found is route
        else:
            assert isinstance(found, RouteRefusal)
            assert (found.status, found.code, found.allow) == (405, "method_not_allowed", route.methods)


@pytest.mark.parametrize("route", REFUSED, ids=lambda route: route.path)
def test_what_is_refused_says_why_with_any_method(route: Route) -> None:
    path = route.path.replace("{response_id}", "resp_1")
    for method in METHODS:
        found = look_up(method, path)
        assert isinstance(found, RouteRefusal)
        assert (found.status, found.code) == (404, "not_supported")
        assert route.note in found.message


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/v1/chat/completions/", "not_found", "did you mean /v1/chat/completions?"),
        ("/V1/Chat/Completions", "not_found", "did you mean /v1/chat/completions?"),
        ("//v1/completions", "not_found", "did you mean /v1/completions?"),
        ("/chat/completions", "not_found", "did you mean /v1/chat/completions?"),
        ("/v1", "not_found", "it serves /detokenize, "),
        ("/v1/files/file-1/content", "not_supported", "keeps no files"),
        ("/v1/fine_tuning/jobs", "not_supported", "LlamaWeights"),
        ("/v1/embeddings", "not_supported", "/generative_scoring"),
        ("/v1/load_lora_adapter", "not_supported", "LlamaAdapter"),
    ],
)
def test_the_sentence_has_a_remedy(path: str, code: str, says: str) -> None:
    found = look_up("POST", path)
    assert isinstance(found, RouteRefusal)
    assert found.code == code
    assert says in found.message


def test_a_family_ends_at_a_slash() -> None:
    found = look_up("GET", "/v1/filesystem")
    assert isinstance(found, RouteRefusal)
    assert found.code == "not_found"
    assert "/v1/files" not in PASSED_PATHS
