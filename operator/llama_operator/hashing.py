"""Short hashes of plain values, for names, labels and comparisons."""

import hashlib
import json


def short_hash(value: object) -> str:
    """Return the first 32 bits of the SHA-256 of the canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
