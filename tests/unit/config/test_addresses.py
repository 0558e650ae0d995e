"""How an address of a pod is written."""

from llama_serving.config.addresses import url_host


def test_an_ipv6_address_gets_brackets() -> None:
    assert [url_host(address) for address in ("10.0.0.1", "fd00::1")] == ["10.0.0.1", "[fd00::1]"]
