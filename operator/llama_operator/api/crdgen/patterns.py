"""Kubernetes' forms of names as RE2 patterns for CEL, without anchors."""

from typing import Final

from llama_serving.config.names import DNS_SUBDOMAIN

# A name with an optional domain, as labels, taints and devices have it.
NAME: Final = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
QUALIFIED_NAME: Final = f"({DNS_SUBDOMAIN}/)?{NAME}"


def matches(pattern: str, subject: str = "self") -> str:
    """CEL: the whole of ``subject`` has the form of ``pattern``."""
    return f"{subject}.matches('^({pattern})$')"
