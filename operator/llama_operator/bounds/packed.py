"""gzip of others, in base64 as a ConfigMap holds it: inflated up to a limit, whatever it would become."""

import base64
import binascii
import zlib
from typing import Final

from llama_operator.bounds.json_text import OverLimitError

_GZIP: Final = 16 + zlib.MAX_WBITS


class DamagedError(ValueError):
    """It is no base64, or no whole gzip; the text says which, as a clause without a subject."""


def inflate(text: str, *, packed: int, inflated: int) -> bytes:
    """Return the bytes that base64 of one gzip member stands for.

    Raises:
        OverLimitError: more than ``packed`` bytes before, or more than ``inflated`` after; no more is ever made.
        DamagedError: it is something else.
    """
    if len(text) > (longest := -(-packed // 3) * 4):
        raise OverLimitError(f"has {len(text)} characters of base64, the limit is {longest}")
    try:
        data = base64.b64decode(text, validate=True)
        machine = zlib.decompressobj(_GZIP)
        found = machine.decompress(data, inflated + 1)
    except (binascii.Error, ValueError) as error:
        raise DamagedError("is no base64") from error
    except zlib.error as error:
        raise DamagedError("is no gzip") from error
    if len(found) > inflated:
        raise OverLimitError(f"becomes more than {inflated} bytes when it is unpacked, which is the limit")
    if not machine.eof:
        raise DamagedError("is cut short")
    if machine.unused_data:
        raise DamagedError(f"has {len(machine.unused_data)} bytes after its end")
    return found
