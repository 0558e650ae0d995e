"""Finds the network interface that has the pod's address: Gloo and NCCL are given it, else they guess by DNS."""

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SIOCGIFADDR: Final = 0x8915
_IPV6: Final = Path("/proc/net/if_inet6")  # a line: address in hex, number, prefix, scope, flags, interface


def interface_of(ip: str, *, ipv6: Path = _IPV6) -> str:
    """Return the name of the interface with the address ``ip``.

    Raises:
        OSError: no interface has it.
    """
    for name, address in _ipv6_addresses(ipv6) if ":" in ip else _ipv4_addresses():
        if address == ipaddress.ip_address(ip):
            return name
    raise OSError(f"no network interface has the address {ip}")


def _ipv4_addresses() -> Iterator[tuple[str, ipaddress.IPv4Address]]:
    for _, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, struct.pack("256s", name[:15].encode()))
            except OSError:  # it has no IPv4 address
                continue
        yield name, ipaddress.IPv4Address(answer[20:24])


def _ipv6_addresses(table: Path) -> Iterator[tuple[str, ipaddress.IPv6Address]]:
    for line in table.read_text(encoding="ascii").splitlines():
        address, *_, name = line.split()
        yield name, ipaddress.IPv6Address(bytes.fromhex(address))
