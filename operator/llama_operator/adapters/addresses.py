"""Pod IPs in URLs."""


def url_host(address: str) -> str:
    """Return the host part of a URL: an IPv6 address needs brackets."""
    return f"[{address}]" if ":" in address else address
