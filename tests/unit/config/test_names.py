"""Names that are computed."""

from llama_serving.config.names import url_host


def test_an_ipv6_address_gets_brackets_in_a_url() -> None:
    assert [url_host(address) for address in ("10.0.0.1", "fd00::1")] == ["10.0.0.1", "[fd00::1]"]
