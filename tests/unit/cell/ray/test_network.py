"""The network interface of an address."""

import pytest

from llama_serving.cell.ray.network import interface_of


def test_the_interface_with_an_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    with pytest.raises(OSError, match=r"no network interface has the address 192\.0\.2\.1"):
        interface_of("192.0.2.1")
