"""What the fetch proxy reads of a head."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.weights.proxy.request import BadRequest, ProxyRequest, parse_request, split_authority

KEY = b"abc123"


def auth(text: bytes = b"stager:abc123") -> bytes:
    return b"proxy-authorization: Basic " + base64.b64encode(text)


def refused(head: bytes, key: bytes = KEY) -> int:
    with pytest.raises(BadRequest) as error:
        parse_request(head, key=key)
    return error.value.status


def test_a_tunnel() -> None:
    head = b"CONNECT hub.example.com:443 HTTP/1.1\r\nHost: x\r\n" + auth()
    assert parse_request(head, key=KEY) == ProxyRequest("hub.example.com", 443, tunnel=True)


def test_a_plain_request_loses_what_is_for_the_proxy() -> None:
    head = (
        b"GET http://store:9000/a?b=c HTTP/1.1\r\nHost: store:9000\r\nConnection: keep-alive\r\nX-Amz: 1\r\n" + auth()
    )
    found = parse_request(head, key=KEY)
    assert (found.host, found.port, found.tunnel) == ("store", 9000, False)
    assert found.head == b"GET /a?b=c HTTP/1.1\r\nhost: store:9000\r\nx-amz: 1\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "header",
    [b"x: y", auth(b"stager:abc124"), auth(b"other:abc123"), auth(b"stager:"), b"proxy-authorization: Bearer abc123",
     b"proxy-authorization: Basic !", auth() + b"\r\n" + auth()],
)  # fmt: skip
def test_without_the_key_nothing_passes(header: bytes) -> None:
    assert refused(b"CONNECT a:443 HTTP/1.1\r\n" + header) == 407


def test_a_proxy_without_a_key_lets_nobody_pass() -> None:
    assert refused(b"CONNECT a:443 HTTP/1.1\r\n" + auth(b"stager:"), key=b"") == 407


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"POST http://a/b HTTP/1.1", 405),
        (b"GET /b HTTP/1.1", 400),
        (b"GET https://a/b HTTP/1.1", 400),
        (b"GET ftp://a/b HTTP/1.1", 400),
        (b"CONNECT a HTTP/1.1", 400),
        (b"CONNECT a:0 HTTP/1.1", 400),
        (b"CONNECT a:99999 HTTP/1.1", 400),
        (b"CONNECT :443 HTTP/1.1", 400),
        (b"GET http://user@a/b HTTP/1.1", 400),
        (b"GET http://a/b", 400),
        (b"GET http://a/b HTTP/2.0", 400),
    ],
)
def test_bad_lines(line: bytes, status: int) -> None:
    assert refused(line + b"\r\n" + auth()) == status


@pytest.mark.parametrize("header", [b"content-length: 5", b"transfer-encoding: chunked", b" folded: 1", b"nocolon"])
def test_no_body_and_no_odd_header_passes(header: bytes) -> None:
    assert refused(b"GET http://a/b HTTP/1.1\r\n" + header + b"\r\n" + auth()) in (400, 405)


def test_authorities() -> None:
    assert split_authority("[2001:db8::1]:443", default=0) == ("2001:db8::1", 443)
    assert split_authority("[2001:db8::1]", default=80) == ("2001:db8::1", 80)
    assert split_authority("a", default=80) == ("a", 80)


@given(st.binary(max_size=300))
def test_no_head_raises_anything_else_or_passes_without_the_key(head: bytes) -> None:
    if b"c3RhZ2VyOmFiYzEyMw" in head:
        return
    assert refused(head) in (400, 407)


@given(st.text(alphabet="GETP /:htp.a1[]@?\r\n", max_size=60))
def test_with_the_key_a_request_names_a_host_or_is_refused(line: str) -> None:
    with contextlib.suppress(BadRequest):
        found = parse_request(line.encode("latin-1", "replace") + b"\r\n" + auth(), key=KEY)
        assert found.host
        assert 0 < found.port < 65536
        assert KEY not in found.head
        assert b"proxy-authorization" not in found.head
