"""Everything about who calls one gateway, and the tasks that keep it up to date."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from aiohttp import web

from llama_serving.common.kube_access import Access
from llama_serving.config import names
from llama_serving.config.access.ledger import HEADER_FIRST, HEADER_LAST
from llama_serving.config.access.metrics import OPEN, AccessSnapshot, KeyCounts
from llama_serving.config.access.usage import ROUTE_USAGE
from llama_serving.config.gateway import GatewayConfig
from llama_serving.gateway.access.gate import Gate
from llama_serving.gateway.access.ledger_file import LedgerFile
from llama_serving.gateway.access.peers import PeerGateways, gateway_url
from llama_serving.gateway.access.pure.account import Account
from llama_serving.gateway.access.pure.books import as_csv
from llama_serving.gateway.access.watch import RulesWatch
from llama_serving.gateway.discovery.object_watch import ObjectWatch, Wanted

_MOST_ROWS = 10_000
_NDJSON = "application/x-ndjson"


class AccessControl:
    """The gate, the ledger and the other gateways.

    ``source``: how to reach the API server, None where there is none; without ``access`` in the config there is no
    Secret, so none is watched. ``ledger``: folder for the ledger, None for one in memory alone.
    """

    def __init__(
        self, config: GatewayConfig, *, source: Callable[[], Access] | None = None, ledger: Path | None = None
    ) -> None:
        self.gate = Gate(required=config.access, clock=time.monotonic, wall=time.time)
        pod = socket.gethostname()
        self.ledger = LedgerFile(ledger, gateway=pod, wall=time.time)
        self.peers = PeerGateways(self.gate, instance=os.urandom(8).hex(), own_name=pod)
        self._config = config
        self._source = source

    def start(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start what runs as long as the gateway; return it, to be cancelled."""
        self.ledger.open()
        started = [tasks.create_task(self.ledger.run(self.gate.period))]
        if self._source is not None and self._config.access:
            config, source = self._config, self._source
            watch = RulesWatch(self.gate, deployment=config.deployment, namespace=config.namespace, access=source)
            started += [tasks.create_task(one) for one in (watch.run(), self.peers.run(), self._find_peers(source))]
        return started

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the admin port."""
        return [web.get(ROUTE_USAGE, self._get_usage), web.get("/ledger", self._get_ledger)]

    def snapshot(self) -> AccessSnapshot:
        """Return what the metrics show."""
        gate = self.gate
        has_keys = gate.rules is not None and gate.rules.mode == "keys"
        return AccessSnapshot(
            is_open=not gate.is_closed,
            rules=gate.rules is not None,
            keys={one.name: _counts([one]) for one in gate.accounts} if has_keys else {OPEN: _counts([*gate.accounts])},
            denials=gate.denials,
            gateways=self.peers.known,
            gateways_reached=self.peers.reached,
            ledger_rows=self.ledger.kept.last,
            ledger_lost=self.ledger.lost,
        )

    async def _find_peers(self, source: Callable[[], Access]) -> None:
        labels = f"{names.LABEL_DEPLOYMENT}={self._config.deployment},{names.LABEL_COMPONENT}={names.COMPONENT_GATEWAY}"
        path = f"/api/v1/namespaces/{self._config.namespace}/pods"
        wanted = Wanted("gateways", path, ("labelSelector", labels))

        def changed(found: Mapping[str, tuple[str, str]]) -> None:
            self.peers.know(dict(found.values()))

        await ObjectWatch(wanted, gateway_url, access=source).run(changed)

    async def _get_usage(self, _: web.Request) -> web.Response:
        return web.json_response(self.peers.told().to_wire())

    async def _get_ledger(self, request: web.Request) -> web.Response:
        after, most = _number(request, "after", default=0), _number(request, "limit", default=1000)
        wanted = request.query.get("format", "jsonl")
        if after is None or not most or wanted not in ("jsonl", "csv"):
            text = "after: a number of a row, limit: how many rows, format: jsonl or csv\n"
            return web.Response(status=400, text=text)
        kept = self.ledger.kept
        rows = kept.after(after, most=min(most, _MOST_ROWS))
        body, kind = (as_csv(rows), "text/csv") if wanted == "csv" else (b"".join(rows), _NDJSON)
        told = {HEADER_FIRST: str(kept.first), HEADER_LAST: str(kept.last)}
        return web.Response(body=body, content_type=kind, headers=told)


def _counts(accounts: list[Account]) -> KeyCounts:
    totals = [account.totals for account in accounts]
    refused: dict[str, int] = {}
    for one in totals:
        for limit, count in (one.refused or {}).items():
            refused[limit] = refused.get(limit, 0) + count
    return KeyCounts(
        requests=sum(one.requests for one in totals),
        prompt_tokens=sum(one.prompt_tokens for one in totals),
        cached_tokens=sum(one.cached_tokens for one in totals),
        answer_tokens=sum(one.answer_tokens for one in totals),
        in_flight=sum(len(account.visits) for account in accounts),
        refused=refused,
    )


def _number(request: web.Request, name: str, *, default: int) -> int | None:
    text = request.query.get(name)
    if text is None:
        return default
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
