"""Until when a certificate is valid, from its DER; anything else is a ValueError."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.gateway.tls.validity import not_after


def value(tag: int, content: bytes) -> bytes:
    """One value of DER."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits)]) + digits + content


def certificate(after: bytes, *, version: bool = True, issuer: int = 20) -> bytes:
    """The outline of a certificate; its issuer has so many bytes."""
    begin = value(0xA0, value(0x02, b"\x02")) if version else b""
    validity = value(0x30, value(0x17, b"200101000000Z") + after)
    fields = value(0x02, b"\x01") + value(0x30, b"") + value(0x30, b"x" * issuer) + validity + value(0x30, b"rest")
    return value(0x30, value(0x30, begin + fields) + value(0x30, b"") + value(0x03, b"\x00"))


@pytest.mark.parametrize("version", [True, False])
@pytest.mark.parametrize("issuer", [0, 20, 200, 70_000])
@pytest.mark.parametrize(
    ("after", "expect"),
    [
        (value(0x17, b"300102030405Z"), datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (value(0x17, b"490102030405Z"), datetime(2049, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (value(0x17, b"500102030405Z"), datetime(1950, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (value(0x17, b"990102030405Z"), datetime(1999, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (value(0x18, b"21000102030405Z"), datetime(2100, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_times_of_both_forms(after: bytes, expect: datetime, *, version: bool, issuer: int) -> None:
    assert not_after(certificate(after, version=version, issuer=issuer)) == expect.timestamp()


@given(st.binary(max_size=200))
def test_other_bytes_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        not_after(data)


@given(st.integers(0, 90), st.integers(0, 255))
def test_a_damaged_certificate_is_a_time_or_a_value_error(place: int, byte: int) -> None:
    good = bytearray(certificate(value(0x17, b"300102030405Z")))
    good[place % len(good)] = byte
    with contextlib.suppress(ValueError):
        assert not_after(bytes(good)) > -1e10
