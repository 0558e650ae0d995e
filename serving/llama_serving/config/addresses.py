"""How an address of a pod is written."""


def url_host(address: str) -> str:
    """Return the host part of a URL or of host:port: an IPv6 address needs brackets."""
    return f"[{address}]" if ":" in address else address
