"""The network interface of an address."""

from pathlib import Path

import pytest

from llama_serving.cell.ray.network import interface_of

#: /proc/net/if_inet6 of a pod that has IPv6 only, and a second network.
IPV6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fd00001000000000000000000000002a 02 40 00 80     eth0
fe80000000000000d8a1fffffe3c0001 02 40 20 80     eth0
fd00002000000000000000000000002a 03 40 00 80     net1
"""


def test_the_interface_with_an_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    with pytest.raises(OSError, match=r"no network interface has the address 192\.0\.2\.1"):
        interface_of("192.0.2.1")


@pytest.mark.parametrize(("ip", "name"), [("fd00:10::2a", "eth0"), ("fd00:20::2a", "net1"), ("::1", "lo")])
def test_the_interface_of_a_pod_with_ipv6_only(tmp_path: Path, ip: str, name: str) -> None:
    table = tmp_path / "if_inet6"
    table.write_text(IPV6)
    assert interface_of(ip, ipv6=table) == name
    with pytest.raises(OSError, match="no network interface has the address fd00:10::2b"):
        interface_of("fd00:10::2b", ipv6=table)
