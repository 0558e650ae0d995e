"""Other gateways of the deployment: asked once a second what each client took there.

They are the ready pods of the deployment's gateways. Each is asked, none tells of itself: nobody who merely reaches an
admin port can make a gateway believe that a client has used up what is its. A gateway that starts, or that is reached
again, adopts what is left as the others count it, so a restart refills nothing.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from llama_serving.config import names
from llama_serving.config.access.usage import LONGEST_USAGE, ROUTE_USAGE, ClientUsage, GatewayUsage
from llama_serving.gateway.access.gate import Gate
from llama_serving.gateway.access.pure.account import Account
from llama_serving.gateway.access.pure.bucket import EXCHANGE
from llama_serving.gateway.telemetry.log import LOGGER, fields

#: Seconds without an answer after which a gateway counts as one that cannot be reached.
UNREACHED_AFTER: Final = 3.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=0.8)
_FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
#: Gateways that are asked; there are never so many.
_MOST: Final = 256


@dataclass(slots=True)
class Peer:
    """Another gateway, and what it told last."""

    heard: float | None = None
    told: GatewayUsage | None = None
    clients: dict[str, ClientUsage] = field(default_factory=dict)


class PeerGateways:
    """All other gateways; ``instance`` and ``own_name`` (its pod's) are this process."""

    def __init__(self, gate: Gate, *, instance: str, own_name: str) -> None:
        self._gate = gate
        self._instance = instance
        self._own = own_name
        self._peers: dict[str, Peer] = {}
        self.reached = 0

    @property
    def known(self) -> int:
        """Number of other gateways."""
        return len(self._peers)

    def know(self, addresses: Mapping[str, str]) -> None:
        """Take over the base URLs of the gateways that are ready, by the name of each one's pod."""
        wanted = [url for name, url in addresses.items() if name != self._own][:_MOST]
        self._peers = {url: self._peers.get(url) or Peer() for url in wanted}

    def told(self) -> GatewayUsage:
        """Return what the others are told."""
        return GatewayUsage(instance=self._instance, clients=self._gate.told())

    async def run(self) -> None:
        """Exchange until cancelled."""
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                await asyncio.sleep(EXCHANGE)
                if self._gate.rules is not None:
                    await asyncio.gather(*(self._ask(session, url, peer) for url, peer in self._peers.items()))
                    self._sync(loop.time())

    async def _ask(self, session: aiohttp.ClientSession, url: str, peer: Peer) -> None:
        now = asyncio.get_running_loop().time()
        try:
            async with session.get(url + ROUTE_USAGE) as response:
                response.raise_for_status()
                told = GatewayUsage.model_validate_json(await _body(response.content))
        except _FAILURES as error:
            if peer.heard is not None and now - peer.heard > UNREACHED_AFTER:
                peer.heard, peer.clients = None, {}
                LOGGER.warning("a gateway does not tell what clients use", extra=fields(gateway=url, reason=str(error)))
            return
        if told.instance == self._instance:  # this one, under another name
            self._peers.pop(url, None)
            return
        self._hear(peer, told, now)

    def _hear(self, peer: Peer, told: GatewayUsage, now: float) -> None:
        is_new = peer.heard is None or peer.told is None or peer.told.instance != told.instance
        before: Mapping[str, ClientUsage] = {} if peer.told is None or is_new else peer.told.clients
        for name, usage in told.clients.items():
            account = self._gate.accounts.hear_of(name, now)
            if account is not None:
                known = None if is_new else before.get(name, ClientUsage())
                _apply(account, usage, before=known, now=now)
        peer.heard, peer.told, peer.clients = now, told, told.clients

    def _sync(self, now: float) -> None:
        heard = [peer for peer in self._peers.values() if peer.heard is not None]
        self.reached = len(heard)
        elsewhere: dict[str, int] = {}
        for peer in heard:
            for name, usage in peer.clients.items():
                elsewhere[name] = elsewhere.get(name, 0) + usage.in_flight
        for account in self._gate.accounts:
            if account.has_limits:
                running = elsewhere.get(account.name, 0)
                account.sync(now, peers=1 + self.known, reached=1 + self.reached, elsewhere=running)


def gateway_url(pod: dict[str, Any]) -> tuple[str, str] | None:
    """Return name and admin URL of a gateway's pod; None while it has no address or is not ready."""
    address = (pod.get("status") or {}).get("podIP")
    if not address or "deletionTimestamp" in pod["metadata"]:
        return None
    conditions = (pod.get("status") or {}).get("conditions") or []
    if not any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions):
        return None
    host = f"[{address}]" if ":" in address else address
    return pod["metadata"]["name"], f"http://{host}:{names.PORT_GATEWAY_ADMIN}"


def _apply(account: Account, usage: ClientUsage, *, before: ClientUsage | None, now: float) -> None:
    """Take what a client took elsewhere; ``before`` None: adopt what is left there."""
    pairs = ((account.tokens, "tokens"), (account.requests, "requests"))
    for bucket, kind in pairs:
        if bucket is None:
            continue
        if before is None:
            left = getattr(usage, f"{kind}_left")
            if left is not None:
                bucket.adopt(left, now)
        else:
            bucket.hear(getattr(usage, kind) - getattr(before, kind), now)


async def _body(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for piece in content.iter_any():
        body += piece
        if len(body) > LONGEST_USAGE:
            raise ValueError(f"more than {LONGEST_USAGE} bytes")
    return bytes(body)
