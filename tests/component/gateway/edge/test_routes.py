"""The table of routes on the wire: what reaches a group, and what a client gets of everything else."""

import asyncio
import json
from typing import Any

import pytest

from llama_serving.config.gateway import WorkCount
from llama_serving.config.routes.table import PASSED, PASSED_PATHS, REFUSED
from tests.component.gateway.running import Gateway, gateway, until
from tests.component.gateway.scripted import DONE, Upstream, answer, stream, upstreams

RESPONSES = "/v1/responses"
#: Targets that some server on the way may take for a route that changes the engine.
TARGETS = (
    "/v1/load_lora_adapter",
    "//v1/load_lora_adapter",
    "/v1//load_lora_adapter",
    "/v1/./load_lora_adapter",
    "/v1/completions/../load_lora_adapter",
    "/v1/completions/%2e%2e/load_lora_adapter",
    "/v1/%6coad_lora_adapter",
    "/v1%2fload_lora_adapter",
    "/v1/load_lora_adapter/",
    "/V1/LOAD_LORA_ADAPTER",
    "/v1/load_lora_adapter?x=/v1/completions",
    "/v1/load_lora_adapter;/v1/completions",
    "/v1/load_lora_adapter#/v1/completions",
    "http://gateway/v1/load_lora_adapter",
    "http://gateway/v1/completions/../load_lora_adapter",
    "http://gateway//v1/%6Coad_lora_adapter",
    "gateway/v1/load_lora_adapter",
    "/collective_rpc",
    "/v1/../collective_rpc",
    "/v1/models/..%2f..%2fcollective_rpc",
    "/v1/models/%2e%2e/%2e%2e/sleep",
    "/sleep?level=2",
    "/v1/completions%00",
    "/v1/completions%20",
    "/v1/completions/",
    "*",
)


async def raw(running: Gateway, line: str, body: bytes = b"{}") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    head = f"{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_no_target_in_disguise_reaches_a_group() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a"), served_name="") as running:
        for target in TARGETS:
            for method in ("POST", "GET", "PUT"):
                got = await raw(running, f"{method} {target}")
                assert got.split(b" ")[1] in (b"400", b"404", b"405"), (method, target, got)
    assert upstream.seen == []


async def test_what_reaches_a_group_is_a_path_of_the_table_as_it_is_spelled_there() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        for route in PASSED:
            for method in route.methods:
                got = await raw(running, f"{method} {route.path}?beta=true")
                assert got.startswith(b"HTTP/1.1 200 "), (method, route, got)
    assert {exchange.target for exchange in upstream.seen} == {f"{path}?beta=true" for path in PASSED_PATHS}


async def test_every_refused_route_is_answered_at_zero_groups_too_and_starts_none() -> None:
    async with gateway() as running:
        running.know()
        for route in REFUSED:
            path = route.path.replace("{response_id}", "resp_1")
            got = await running.request(path, method=route.methods[0])
            assert (got.status, got.error["code"], got.error["type"]) == (404, "not_supported", "invalid_request_error")
            assert route.note in got.error["message"]
            assert "x-request-id" in got.headers
        load = await running.load()
        assert (load.arrived, load.waiting) == (WorkCount(), 0)
        text = (await running.admin("/metrics")).body.decode()
    assert f'llama_gateway_requests_total{{code="404"}} {len(REFUSED)}.0\n' in text


async def test_a_wrong_method_is_told_the_right_one() -> None:
    async with gateway() as running:
        running.know()
        got = await running.request("/v1/chat/completions", method="PATCH")
        assert (got.status, got.error["code"], got.headers["allow"]) == (405, "method_not_allowed", "POST, OPTIONS")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"store": True, "stream": True}, "store"),
    ],
)
async def test_a_response_that_needs_a_store_is_refused_with_its_field(more: dict[str, Any], field: str) -> None:
    upstream = Upstream()
    asked = json.dumps({"model": "d", "input": "Hi", **more}).encode()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request(RESPONSES, data=asked)
        assert (got.status, got.error["code"], got.error["param"]) == (400, "not_supported", field)
        assert (await running.load()).arrived == WorkCount()
    assert upstream.seen == []


async def test_a_response_without_a_store_is_answered_by_any_group_and_counted_by_its_usage() -> None:
    usage = b'{"object": "response", "usage": {"input_tokens": 9, "output_tokens": 21, "total_tokens": 30}}'
    bad, good = Upstream(then=answer(503)), Upstream(then=answer(200, usage))
    asked = json.dumps({"model": "d", "input": "Hi", "store": False, "max_output_tokens": 40}).encode()
    async with upstreams(bad, good), gateway(bad.endpoint("a"), good.endpoint("b")) as running:
        for _ in range(2):
            assert (await running.request(RESPONSES, data=asked)).body == usage
        await until(lambda: running.server.load().served.requests == 2)
        load = await running.load()
    assert (load.arrived.answer_tokens, load.served.answer_tokens) == (80, 42)
    assert all(exchange.body == asked for exchange in (*bad.seen, *good.seen))


async def test_a_stream_of_messages_is_counted_by_its_last_usage() -> None:
    events = (
        b'event: message_start\ndata: {"message": {"usage": {"input_tokens": 9, "output_tokens": 0}}}\n\n',
        b'event: message_delta\ndata: {"usage": {"output_tokens": 12}}\n\n',
    )
    upstream = Upstream(then=stream(*events, DONE))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        await running.request("/v1/messages", data=b'{"stream": true, "max_tokens": 50}')
        await until(lambda: running.server.load().served.requests == 1)
        assert (await running.load()).served.answer_tokens == 12


async def test_tokenizing_starts_a_group_and_costs_no_tokens() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway() as running:
        running.know()
        asked = asyncio.create_task(running.request("/tokenize", data=b'{"prompt": "some words"}'))
        await until(lambda: running.server.load().waiting == 1)
        assert (await running.load()).arrived == WorkCount(requests=1)
        running.know(upstream.endpoint("a"))
        assert (await asked).status == 200
