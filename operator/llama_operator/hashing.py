"""A short, stable hash for the names and annotations of Kubernetes objects."""

import hashlib
import json


def short_hash(value: object) -> str:
    """Return the first 32 bits of SHA-256 of the canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
