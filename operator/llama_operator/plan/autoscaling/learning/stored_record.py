"""The record as a text for the status, so that a restart does not make a deployment learn anew.

Half-precision shares of all rules, compressed: one or two kilobytes. It belongs to one family of rules and one
``PromiseTerms``; that of others, and a text that is none, is no record.
"""

import base64
import binascii
import hashlib
import struct
import zlib
from typing import Final

import numpy as np

from llama_operator.plan.autoscaling.learning.record import LAGS, Record
from llama_operator.plan.autoscaling.learning.rules import Vector

#: Characters of a text at most.
LONGEST: Final = 8192
_HEAD: Final = struct.Struct("<8s3f")
_ROWS: Final = len(LAGS) + 3
_LARGEST: Final = 60_000.0  # below the largest number of half precision


def key_of(*belongs_to: object) -> bytes:
    """Return 8 bytes that tell records apart which must not be mixed."""
    return hashlib.sha256(repr(belongs_to).encode()).digest()[:8]


def to_text(record: Record, key: bytes) -> str:
    """Return the text of a record."""
    requests = max(record.requests, 1.0)
    rows = [
        *(late / requests for late in record.late),
        np.sqrt(record.episodes.squares()) / requests,
        record.cost,
        record.present_cost,
    ]
    values = np.minimum(np.array(rows), _LARGEST).astype("<f2").tobytes()
    head = _HEAD.pack(key, record.requests, record.seconds, record.unavoidable)
    return base64.b64encode(zlib.compress(head + values, 9)).decode()


def restore(record: Record, text: str, key: bytes) -> bool:
    """Let a new record go on where that of the text ended; False, and no change, where it is not of this ``key``."""
    rules = len(record.formulas)
    size = _HEAD.size + 2 * _ROWS * rules
    try:
        raw = zlib.decompressobj().decompress(base64.b64decode(text[:LONGEST], validate=True), size + 1)
    except (zlib.error, binascii.Error, ValueError):
        return False
    if len(raw) != size:
        return False
    found, requests, seconds, unavoidable = _HEAD.unpack_from(raw)
    rows: list[Vector] = list(np.frombuffer(raw, "<f2", offset=_HEAD.size).astype(float).reshape(_ROWS, rules))
    numbers = np.concatenate([[requests, seconds, unavoidable], *rows])
    if found != key or not np.isfinite(numbers).all() or (numbers < 0).any():
        return False
    *late, episodes, cost, present_cost = rows
    record.go_on(
        requests, seconds, unavoidable=unavoidable, late=[one * requests for one in late],
        squares=(episodes * requests) ** 2, costs=(cost, present_cost),
    )  # fmt: skip
    return True
