"""The watch of the Secret with the rules, against an API server that does what API servers do."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llama_serving.common.kube_access import Access
from llama_serving.config.access.rules import LONGEST_ACCESS
from llama_serving.config.gateway import GatewayConfig
from llama_serving.gateway.access.control import AccessControl
from llama_serving.gateway.access.watch import RulesWatch, parse_rules
from llama_serving.gateway.discovery.object_watch import WatchTimes
from tests.component.gateway.access.world import key, keys, secret_object
from tests.component.gateway.apiserver import ApiServer, running
from tests.component.gateway.running import until

FAST = WatchTimes(backoff=0.01, max_backoff=0.05)
ADDED = 2.0  # seconds within which a revoked key must stop


@asynccontextmanager
async def watching(server: ApiServer, *, required: bool = True) -> AsyncIterator[AccessControl]:
    control = AccessControl(GatewayConfig(deployment="d", namespace="n", access=required))

    def access() -> Access:
        return Access(server.url, {"authorization": "Bearer t"}, None)

    watch = RulesWatch(control.gate, deployment="d", namespace="n", access=access, times=FAST)
    task = asyncio.create_task(watch.run())
    try:
        yield control
    finally:
        task.cancel()


def names(control: AccessControl) -> list[str]:
    return sorted(account.name for account in control.gate.accounts)


async def test_the_one_secret_is_watched_and_a_change_holds_within_two_seconds() -> None:
    server = ApiServer()
    secrets = server.other("secrets")
    secrets.put(secret_object(keys(key("a"), key("b"))))
    async with running(server), watching(server) as control:
        await until(lambda: names(control) == ["a", "b"])
        await until(lambda: secrets.watches)
        path, query, token = secrets.requests[0]
        assert (path, query["fieldSelector"], token) == (
            "/api/v1/namespaces/n/secrets",
            "metadata.name=d-access",
            "Bearer t",
        )
        before = time.monotonic()
        await secrets.event("MODIFIED", secret_object(keys(key("b"))))
        await until(lambda: names(control) == ["b"], seconds=ADDED)
        assert time.monotonic() - before < ADDED


async def test_while_the_api_server_is_away_the_last_rules_hold() -> None:
    server = ApiServer()
    secrets = server.other("secrets")
    secrets.put(secret_object(keys(key("a"))))
    async with running(server), watching(server) as control:
        await until(lambda: secrets.watches)
        secrets.refuse_list = secrets.refuse_watch = 503
        asked = len(secrets.requests)
        secrets.watches[0].end(abort=True)
        await until(lambda: len(secrets.requests) > asked + 3)
        assert names(control) == ["a"]
        assert not control.gate.is_closed
        secrets.put(secret_object(keys(key("a"), key("c"))))
        secrets.refuse_list = secrets.refuse_watch = 0
        await until(lambda: len(secrets.watches) > 1)
        await secrets.watches[-1].send("ERROR", {"kind": "Status", "code": 410, "message": "too old"})
        await until(lambda: names(control) == ["a", "c"])


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize("required", [True, False])
async def test_a_gateway_that_may_not_read_the_secret(status: int, required: bool) -> None:
    server = ApiServer()
    secrets = server.other("secrets")
    secrets.refuse_list = status
    async with running(server), watching(server, required=required) as control:
        await until(lambda: secrets.lists > 2)
        assert control.gate.is_closed is required
        assert control.gate.rules is None


async def test_a_secret_that_is_gone_closes_the_gateway_only_where_rules_are_required() -> None:
    for required in (True, False):
        server = ApiServer()
        secrets = server.other("secrets")
        there = secrets.put(secret_object(keys(key("a"))))
        async with running(server), watching(server, required=required) as control:
            await until(lambda: secrets.watches and control.gate.rules)  # noqa: B023
            await secrets.event("DELETED", there)
            await until(lambda: control.gate.rules is None)
            assert control.gate.is_closed is required


BAD: list[dict[str, Any]] = [
    {"metadata": {"uid": "u"}},
    {"metadata": {"uid": "u"}, "data": {"access.json": 1}},
    {"metadata": {"uid": "u"}, "data": {"access.json": "%"}},
    secret_object(None, text="{"),
    secret_object(None, text='{"mode": "closed"}'),
    secret_object(None, text='{"mode": "keys", "keys": [{"name": "a", "sha256": "short"}]}'),
    secret_object(None, text=" " * (LONGEST_ACCESS + 10)),
]


@pytest.mark.parametrize("bad", BAD)
async def test_rules_that_cannot_be_used_let_nobody_in_and_replace_none(
    bad: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    assert parse_rules(bad).fault
    server = ApiServer()
    secrets = server.other("secrets")
    secrets.put({**bad, "metadata": {"name": "d-access", "uid": "uid-of-access"}})
    async with running(server), watching(server, required=False) as control:
        await until(lambda: control.gate.is_closed)
        await until(lambda: secrets.watches)
        await secrets.event("MODIFIED", secret_object(keys(key("a"))))
        await until(lambda: names(control) == ["a"] and not control.gate.is_closed)
        await secrets.event("MODIFIED", {**bad, "metadata": {"name": "d-access", "uid": "uid-of-access"}})
        await until(lambda: len([one for one in caplog.records if "cannot be used" in one.getMessage()]) == 2)
        assert names(control) == ["a"]
        assert not control.gate.is_closed


def test_a_newer_operator_may_say_more() -> None:
    read = parse_rules(secret_object(None, text='{"mode": "keys", "keys": [], "later": 1}'))
    assert read.rules is not None
    assert read.fault == ""
