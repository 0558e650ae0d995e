"""The signature of a desired state: only who has the key makes one, for one pod, over every byte."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.trust.signature import SignatureError, check_signature, read_signature, sign

BODY = b'{"serve":{}}'


def signed(body: bytes = BODY, *, key: str = "k", pod: str = "p", places: tuple[str, ...] = ()) -> str:
    return sign(body, key=key, pod=pod, counter=7, places=places)


def test_what_was_signed_is_taken() -> None:
    found = read_signature(signed(places=("s3://models", "https://host", "s3://models")))
    check_signature(found, BODY, key="k", pod="p")
    assert (found.counter, found.places) == (7, ("s3://models", "https://host"))


@pytest.mark.parametrize(
    ("header", "body", "sentence"),
    [
        (signed(key="other"), BODY, "another key"),
        (signed(), BODY + b" ", "of something else"),
        (signed(pod="q"), BODY, "for pod q"),
        (signed().replace('"counter":7', '"counter":8'), BODY, "of something else"),
        (signed().replace('"places":[]', '"places":["https://evil"]'), BODY, "of something else"),
        (signed().replace('"pod":"p"', '"pod":"q"'), BODY, "of something else"),
    ],
)
def test_what_was_not_signed_is_not(header: str, body: bytes, sentence: str) -> None:
    with pytest.raises(SignatureError, match=sentence):
        check_signature(read_signature(header), body, key="k", pod="p")


@given(st.text(max_size=200))
def test_any_text_is_a_signature_or_a_refusal(header: str) -> None:
    with pytest.raises(SignatureError):
        check_signature(read_signature(header), BODY, key="k", pod="p")


def test_a_header_fits_a_line_of_http_whatever_the_number_of_places() -> None:
    header = signed(places=tuple(f"https://store-{number}.example.com" for number in range(1024)))
    assert len(header) < 8000
    assert read_signature(header).places[0] == "https://store-0.example.com"
    assert header.isascii()
    assert "\n" not in header
    check_signature(read_signature(header), BODY, key="k", pod="p")


@given(st.binary(max_size=50), st.text(max_size=10), st.lists(st.text(max_size=5), max_size=3))
def test_places_cannot_be_moved_into_the_body(body: bytes, pod: str, places: list[str]) -> None:
    """What is signed is unambiguous: other parts of the same bytes have another code."""
    one = json.loads(sign(body, key="k", pod=pod, counter=1, places=places))["mac"]
    other = json.loads(sign(b"x" + body, key="k", pod=pod, counter=1, places=places))["mac"]
    assert one != other
