"""Finds the network interface that has the pod's address: Gloo and NCCL are given it, else they guess by DNS."""

import fcntl
import socket
import struct
from typing import Final

_SIOCGIFADDR: Final = 0x8915


def interface_of(ip: str) -> str:
    """Return the name of the interface with the IPv4 address ``ip``.

    Raises:
        OSError: no interface has it.
    """
    for _, name in socket.if_nameindex():
        if _address(name) == ip:
            return name
    raise OSError(f"no network interface has the address {ip}")


def _address(interface: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, struct.pack("256s", interface[:15].encode()))
        except OSError:  # it has no IPv4 address
            return None
    return socket.inet_ntoa(answer[20:24])
