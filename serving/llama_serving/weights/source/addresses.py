"""Which network addresses a source may have.

The stager and the resolver stand inside the cluster, and read what a URI, a redirect or a Secret names. So the address
counts, not the name, and what is connected to is the address that was checked: a name that means another one a moment
later changes nothing.

==========================================================  ====================================================
address                                                     may be connected to
==========================================================  ====================================================
link-local, metadata of clouds, multicast, 0.0.0.0, future  never
loopback                                                    where ``networks`` has it
private: of the cluster, of a company                       where ``networks`` has it, or ``private`` is allowed
public                                                      always
==========================================================  ====================================================

A proxy that the environment of the process names is connected to wherever it is; what it may reach is its own matter.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from llama_serving.config import names
from llama_serving.weights.source.interface import NoSourceError

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

#: Metadata services outside of the link-local networks: Alibaba, Oracle, Azure's host, AWS over IPv6.
_METADATA: Final = frozenset(map(ip_address, ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254")))
_NAT64: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_THIS_NETWORK: Final = ip_network("0.0.0.0/8")


@dataclass(frozen=True)
class AddressRules:
    """Which addresses that are not public a source may have."""

    networks: tuple[IpNetwork, ...] = ()
    private: bool = False  # every private address, but not loopback

    def refusal(self, address: str) -> str:
        """Return what is wrong with an address, as the end of "which is ..."; empty where it may be connected to."""
        found = _plain(ip_address(address.partition("%")[0]))
        if _is_never(found):
            return "an address of this machine or of its cloud, which no source has"
        if any(found in network for network in self.networks if network.version == found.version):
            return ""
        if found.is_loopback:
            return "this pod itself"
        if found.is_global or self.private:
            return ""
        return "an address inside the cluster or its private network"


def rules_from(environment: Mapping[str, str]) -> AddressRules:
    """Return the rules of this process.

    Without the variable (an older operator, a command by hand) private addresses are allowed. Raises ValueError where
    it holds no network.
    """
    text = environment.get(names.ENV_SOURCE_NETWORKS)
    if text is None:
        return AddressRules(private=True)
    return AddressRules(tuple(ip_network(one.strip(), strict=False) for one in text.split(",") if one.strip()))


def own_rules() -> AddressRules:
    """Return the rules that the environment of this process says."""
    return rules_from(os.environ)


def check_address(host: str, address: str, rules: AddressRules) -> None:
    """Raise NoSourceError where ``address`` may not be connected to; ``host`` is the name that led to it."""
    if why := rules.refusal(address):
        shown = host if host == address else f"{host} ({address})"
        raise NoSourceError(
            f"{shown} is {why}: nothing is read there; a store inside the cluster must be allowed by sources.networks "
            "in the values of the operator's chart"
        )


class CheckedResolver(AbstractResolver):
    """Resolves names for connections, and gives only addresses that may be connected to."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        self._resolver = ThreadedResolver()
        self._proxies = _proxy_hosts()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of ``host`` that are allowed. Raises OSError where it has none, Gone where none is."""
        found = await self._resolver.resolve(host, port, family)
        if host in self._proxies:
            return found
        allowed = [one for one in found if not self._rules.refusal(one["host"])]
        if found and not allowed:
            check_address(host, found[0]["host"], self._rules)
        return allowed

    async def close(self) -> None:
        """Close what resolves."""
        await self._resolver.close()


def resolve_checked(host: str, rules: AddressRules) -> None:
    """Resolve ``host`` now, and raise Gone where one of its addresses may not be connected to. Blocks.

    For clients that resolve names themselves. A name that does not resolve passes: the client says so.
    """
    try:
        found: list[Any] = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError:
        return
    for entry in found:
        check_address(host, str(entry[4][0]), rules)


def is_address(host: str) -> bool:
    """Return whether a host is an address and no name."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host is written as this machine: bytes to it leave no wire to listen on."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def _proxy_hosts() -> frozenset[str]:
    """Return the hosts of the proxies that the environment names."""
    return frozenset(host for url in getproxies_environment().values() if (host := urlsplit(url).hostname))


def _plain(address: IpAddress) -> IpAddress:
    """Return the IPv4 address that an IPv6 one carries; else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    carried = address.ipv4_mapped or address.sixtofour
    if carried is None and any(address in network for network in _NAT64):
        carried = IPv4Address(int(address) & 0xFFFF_FFFF)
    return carried or address


def _is_never(address: IpAddress) -> bool:
    return (
        address in _METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and not address.is_loopback)
        or (isinstance(address, IPv4Address) and address in _THIS_NETWORK)
    )
