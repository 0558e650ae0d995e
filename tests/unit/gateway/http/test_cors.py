"""Which origins may call, as tables and properties."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llama_serving.gateway.http.cors import CorsPolicy, add_cors

ALLOWED = "access-control-allow-origin"
CREDENTIALS = "access-control-allow-credentials"

MATCHES = [
    ("https://a.example", "https://a.example", True),
    ("https://a.example", "http://a.example", False),
    ("https://a.example", "https://a.example:8443", False),
    ("https://a.example", "https://a.example.evil", False),
    ("https://a.example", "https://evil.a.example", False),
    ("https://a.example", "https://A.example", True),
    ("https://a.example:443", "https://a.example", True),
    ("http://a.example:80", "http://a.example", True),
    ("http://a.example:443", "http://a.example", False),
    ("http://localhost:3000", "http://localhost:3000", True),
    ("http://localhost:3000", "http://localhost:30000", False),
    ("http://[::1]:3000", "http://[::1]:3000", True),
    ("app://obsidian.md", "app://obsidian.md", True),
    ("https://*.example.com", "https://a.example.com", True),
    ("https://*.example.com", "https://a.b.example.com", True),
    ("https://*.example.com", "https://example.com", False),
    ("https://*.example.com", "https://evilexample.com", False),
    ("https://*.example.com", "https://a.example.com.evil.org", False),
    ("https://*.example.com", "https://evil.org/.example.com", False),
    ("https://*.example.com", "https://evil.org#.example.com", False),
    ("https://*.example.com", "https://user@a.example.com", False),
    ("https://*.example.com", "https://a.exampleXcom", False),
    ("https://*.example.com", "http://a.example.com", False),
    ("https://*.example.com", "https://a.example.com:8443", False),
    ("https://*.example.com:8443", "https://a.example.com:8443", True),
    ("https://*.example.com:443", "https://a.example.com", True),
    ("https://a.example", "null", False),
    ("https://a.example", "", False),
]


@pytest.mark.parametrize(("listed", "origin", "may"), MATCHES)
def test_an_origin_may_call_if_it_is_listed(listed: str, origin: str, *, may: bool) -> None:
    found = CorsPolicy([listed]).headers(origin)
    assert (found.get(ALLOWED), found.get(CREDENTIALS)) == ((origin, "true") if may else (None, None))
    assert found["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://b.example", "null", None])
def test_every_page_may_call_but_without_credentials(origin: str | None) -> None:
    found = CorsPolicy(["*"]).headers(origin)
    assert (found[ALLOWED], CREDENTIALS in found) == ("*", False)


def test_one_that_is_named_beside_every_page_keeps_its_credentials() -> None:
    policy = CorsPolicy(["*", "https://a.example"])
    assert policy.headers("https://a.example")[CREDENTIALS] == "true"
    assert policy.headers("https://b.example")[ALLOWED] == "*"


def test_nothing_is_said_where_no_origin_is_listed() -> None:
    policy = CorsPolicy([])
    assert (policy.is_on, policy.headers("https://a.example")) == (False, {})


@given(st.text(max_size=60))
def test_credentials_are_never_allowed_to_a_page_that_is_not_named(origin: str) -> None:
    found = CorsPolicy(["*", "https://*.example.com"]).headers(origin)
    if CREDENTIALS in found:
        assert re.fullmatch(r"https://[a-z0-9_.-]+\.example\.com", origin.lower())
        assert found[ALLOWED] == origin
    else:
        assert found[ALLOWED] == "*"


@given(st.text(max_size=200))
def test_whatever_is_requested_the_answer_is_one_line_of_header_names(requested: str) -> None:
    headers = {"origin": "https://a.example", "access-control-request-headers": requested}
    found = CorsPolicy(["https://a.example"]).preflight(headers)
    assert found is not None
    allowed = found["access-control-allow-headers"].split(", ")
    assert all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name) for name in allowed)
    assert {"authorization", "content-type"} <= set(allowed)
    assert len(allowed) == len(set(allowed))


def test_a_preflight_of_a_page_that_is_not_listed_has_no_answer() -> None:
    assert CorsPolicy(["https://a.example"]).preflight({"origin": "https://b.example"}) is None
    assert CorsPolicy([]).preflight({"origin": "https://b.example"}) is None


def test_what_an_answer_varies_by_stays() -> None:
    headers = CIMultiDict([("vary", "Accept"), ("Vary", "Accept-Language")])
    add_cors(headers, {"vary": "Origin", ALLOWED: "*"})
    assert headers.getall("vary") == ["Accept, Accept-Language, Origin"]
    assert headers[ALLOWED] == "*"
