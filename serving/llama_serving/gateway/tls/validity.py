"""Until when a certificate is valid, read from its DER form. Python's ssl tells it of a peer's certificate only.

RFC 5280, 4.1: Certificate ::= SEQUENCE { tbsCertificate, ... }, and TBSCertificate ::= SEQUENCE { [0] version OPTIONAL,
serialNumber, signature, issuer, validity SEQUENCE { notBefore, notAfter }, ... }; a time is a UTCTime (YYMMDDHHMMSSZ,
years from 1950 on) or a GeneralizedTime (YYYYMMDDHHMMSSZ).
"""

from datetime import UTC, datetime
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_TIMES: Final = {0x17: (13, "%y%m%d%H%M%SZ"), 0x18: (15, "%Y%m%d%H%M%SZ")}
_BEFORE_VALIDITY: Final = 3  # serialNumber, signature, issuer
_PIVOT: Final = 2050


def not_after(der: bytes) -> float:
    """Return the Unix time in seconds at which the certificate is over; ValueError for what is no certificate."""
    inner, _ = _content(_content(der, _SEQUENCE)[0], _SEQUENCE)
    if inner[:1] == bytes([_VERSION]):
        inner = _content(inner, _VERSION)[1]
    for _ in range(_BEFORE_VALIDITY):
        inner = _content(inner)[1]
    validity, _ = _content(inner, _SEQUENCE)
    return _time(_content(validity)[1])


def _content(data: bytes, tag: int | None = None) -> tuple[bytes, bytes]:
    """Return the content of the first value, and what comes after it."""
    if len(data) < 2 or (tag is not None and data[0] != tag):
        raise ValueError("it is no X.509 certificate in DER")
    size, start = data[1], 2
    if size & 0x80:
        start = 2 + (size & 0x7F)
        if start == 2 or start > 6:
            raise ValueError("it has a length that DER does not allow")
        size = int.from_bytes(data[2:start], "big")
    end = start + size
    if end > len(data):
        raise ValueError("it is cut off")
    return data[start:end], data[end:]


def _time(data: bytes) -> float:
    size, form = _TIMES.get(data[0] if data else 0, (0, ""))
    text, _ = _content(data)
    if len(text) != size:
        raise ValueError("its validity has no time")
    moment = datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)
    if form.startswith("%y") and moment.year >= _PIVOT:
        moment = moment.replace(year=moment.year - 100)
    return moment.timestamp()
