"""Requests for LoRA adapters over real HTTP: which group gets them, what waits, and what clients are told."""

import asyncio
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

from llama_serving.config import names
from llama_serving.config.gateway import ServedAdapter, ServedModels
from llama_serving.gateway.routing.endpoint import Endpoint
from tests.component.gateway.running import CHAT, Answer, Gateway, gateway, until
from tests.component.gateway.scripted import Exchange, Script, Upstream, answer, head, upstreams
from tests.unit.gateway.continuation.engine import Engine, recorded, seen, tokens_of

ENGINE = Engine(tokens_of(recorded("emoji.ids.sse"))[:16])
ABSENT = json.dumps({"error": {"message": "not here", "type": "unavailable", "code": names.CODE_ADAPTER_ABSENT}})


def engine(*held: str, cut: int | None = None) -> Script:
    """An engine that holds the adapters of these ids; its answers tell which one made them.

    ``cut``: it dies after so many bytes of a stream.
    """

    async def script(exchange: Exchange) -> None:
        asked = exchange.headers.get(names.HEADER_ADAPTER, "")
        if asked and asked not in held:
            await answer(409, ABSENT.encode())(exchange)
            return
        body = json.loads(exchange.body)
        header = f"{names.HEADER_ADAPTER}: {asked}"
        if not body.get("stream"):
            await answer(200, json.dumps({"by": asked or "base"}).encode(), *[header] * bool(asked))(exchange)
            return
        await exchange.send(head(200, "transfer-encoding: chunked", header, kind="text/event-stream"))
        stream = b"".join(ENGINE.answer(exchange.target, body))
        await exchange.chunk(stream[:cut])
        if cut is not None:
            exchange.close()
            return
        await exchange.send(b"0\r\n\r\n")

    return script


def models(folder: Path, *specified: str, refused: str = "") -> Path:
    """The file of names; ``refused``: an adapter that is."""
    adapters = [ServedAdapter(name=name, parent="d") for name in specified]
    if refused:
        adapters.append(ServedAdapter(name=refused, parent="d", refused="its rank 128 is above 64"))
    file = folder / names.GATEWAY_MODELS_FILE
    fresh = file.with_suffix(".new")
    fresh.write_text(ServedModels(adapters=tuple(adapters), max_model_len=2048).model_dump_json())
    fresh.replace(file)
    return file


async def ask(running: Gateway, model: str | None, **more: Any) -> Answer:
    body = {"messages": [{"role": "user", "content": "Hi"}], **more} | ({"model": model} if model else {})
    return await running.request(CHAT, data=json.dumps(body).encode())


def by(got: Answer) -> str:
    assert got.status == 200, got.body
    answered: str = json.loads(got.body)["by"]
    return answered


def same(upstream: Upstream, name: str, **adapters: str) -> Endpoint:
    """A group with the weights of all others."""
    return dataclasses.replace(upstream.endpoint(name), weights="w", adapters=adapters)


async def test_each_name_is_answered_by_its_adapter(tmp_path: Path) -> None:
    a, b = Upstream(then=engine("s@1")), Upstream(then=engine("s@1", "t@1"))
    async with upstreams(a, b), gateway(models=models(tmp_path, "style", "tone")) as running:
        running.know(a.endpoint("a", style="s@1"), b.endpoint("b", ordinal=1, style="s@1", tone="t@1"))
        for _ in range(3):
            assert [by(await ask(running, name)) for name in ("style", "tone", "d", None)] == [
                "s@1", "t@1", "base", "base",
            ]  # fmt: skip
        got = await ask(running, "tone")
        assert (got.headers["x-llama-group"], got.headers[names.HEADER_ADAPTER]) == ("1", "t@1")


async def test_a_client_cannot_choose_by_the_internal_header(tmp_path: Path) -> None:
    a = Upstream(then=engine("s@1"))
    async with upstreams(a), gateway(models=models(tmp_path, "style")) as running:
        running.know(a.endpoint("a", style="s@1"))
        got = await running.request(data=b'{"model": "d"}', headers={names.HEADER_ADAPTER: "s@1"})
        assert by(got) == "base"
        assert all(names.HEADER_ADAPTER not in exchange.headers for exchange in a.seen)


async def test_a_request_waits_for_an_adapter_that_is_nowhere_and_others_pass(tmp_path: Path) -> None:
    a = Upstream(then=engine("s@1"))
    async with upstreams(a), gateway(models=models(tmp_path, "style"), max_in_flight_per_group=1) as running:
        running.know(a.endpoint("a"))
        waiting = asyncio.create_task(ask(running, "style"))
        await until(lambda: running.server.queue_length == 1)
        assert [by(await ask(running, "d")) for _ in range(3)] == ["base"] * 3
        demand = (await running.load()).adapters["style"]
        assert (demand.waiting, demand.in_flight, demand.arrived, demand.idle) == (1, 0, 1, 0.0)
        running.know(a.endpoint("a", style="s@1"))
        assert by(await waiting) == "s@1"
        assert b'llama_gateway_adapter_arrived_total{adapter="style"} 1' in (await running.admin("/metrics")).body


async def test_one_that_waits_too_long_is_told_why(tmp_path: Path) -> None:
    a = Upstream(then=engine())
    async with upstreams(a), gateway(models=models(tmp_path, "style"), queue_timeout=0.2) as running:
        running.know(a.endpoint("a"))
        got = await ask(running, "style")
        assert (got.status, got.error["code"]) == (503, "no_group")
        assert "adapter 'style' is on 0 of 1 ready groups" in got.error["message"]


async def test_unknown_and_refused_names_get_404_at_once_and_wake_nothing(tmp_path: Path) -> None:
    async with gateway(models=models(tmp_path, "style", refused="broken")) as running:
        running.know()
        unknown, refused = await ask(running, "other"), await ask(running, "broken", stream=True)
        assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
        assert unknown.error["param"] == "model"
        assert (refused.status, refused.error["code"]) == (404, "adapter_refused")
        assert "its rank 128 is above 64" in refused.error["message"]
        load = await running.load()
        assert (load.arrived.requests, load.waiting, load.adapters) == (0, 0, {})


async def test_at_zero_groups_a_request_for_an_adapter_counts_as_work(tmp_path: Path) -> None:
    a = Upstream(then=engine("s@1"))
    async with upstreams(a), gateway(models=models(tmp_path, "style")) as running:
        running.know()
        waiting = asyncio.create_task(ask(running, "style"))
        await until(lambda: running.server.queue_length == 1)
        load = await running.load()
        assert (load.waiting, load.arrived.requests) == (1, 1)
        running.know(a.endpoint("a", style="s@1"))
        assert by(await waiting) == "s@1"


async def test_where_nobody_knows_names_every_model_goes_to_the_engine() -> None:
    a = Upstream(then=engine())
    async with upstreams(a), gateway(a.endpoint("a")) as running:
        assert by(await ask(running, "whatever")) == "base"
        assert "adapters" not in json.loads((await running.admin("/load")).body)


async def test_names_appear_and_vanish_without_a_restart(tmp_path: Path) -> None:
    file = models(tmp_path, "style")
    async with gateway(models=file, queue_timeout=20) as running:
        running.know()
        waiting = asyncio.create_task(ask(running, "style"))
        await until(lambda: running.server.queue_length == 1)
        models(tmp_path, "tone")
        got = await waiting
        assert (got.status, got.error["code"]) == (404, "model_not_found")
        assert (await running.request("/v1/models/tone", method="GET", data=None)).status == 200


async def test_an_engine_that_has_another_version_is_passed_by_without_a_strike(tmp_path: Path) -> None:
    old, new = Upstream(then=engine("s@1")), Upstream(then=engine("s@2"))
    async with upstreams(old, new), gateway(models=models(tmp_path, "style"), max_retries=0) as running:
        running.know(old.endpoint("old", style="s@2"), new.endpoint("new", style="s@2"))
        assert {by(await ask(running, "style")) for _ in range(6)} == {"s@2"}
        assert old.seen
        load = await running.load()
        assert [group.ejected for group in load.groups] == [False, False]
        assert not any(counts.failed for counts in load.by_weights.values())
        assert old.probes == 0


async def test_an_answer_of_another_version_reaches_no_client(tmp_path: Path) -> None:
    """An engine that says 200 and names another adapter than it was asked for."""
    body = b'{"by": "s@1"}'
    wrong = Upstream(then=answer(200, body, f"{names.HEADER_ADAPTER}: s@1"))
    right = Upstream(then=engine("s@2"))
    async with upstreams(wrong, right), gateway(models=models(tmp_path, "style")) as running:
        running.know(wrong.endpoint("wrong", style="s@2"), right.endpoint("right", style="s@2"))
        assert {by(await ask(running, "style")) for _ in range(4)} == {"s@2"}


async def test_a_stream_goes_on_with_its_adapter_only(tmp_path: Path) -> None:
    """Its group dies; the next best has another version, and the group of the right one comes last."""
    bad, other, good = Upstream(then=engine("s@1", cut=900)), Upstream(then=engine("s@2")), Upstream(then=engine("s@1"))
    asked = {"model": "style", "stream": True, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}
    async with upstreams(bad, other, good), gateway(models=models(tmp_path, "style")) as running:
        running.know(same(bad, "bad", style="s@1"))
        stream = asyncio.create_task(running.request(CHAT, data=json.dumps(asked).encode()))
        await until(lambda: bad.seen)
        bad_gone = dataclasses.replace(same(bad, "bad", style="s@1"), ready=False)
        running.know(bad_gone, same(other, "other", style="s@2"))
        await until(lambda: running.server.queue_length == 1)
        assert other.seen == []
        running.know(bad_gone, same(other, "other", style="s@2"), same(good, "good", style="s@1"))
        got = await stream
        assert not got.broken
        assert seen(got.body).text == seen(b"".join(ENGINE.answer(CHAT, asked))).text
        assert [exchange.headers[names.HEADER_ADAPTER] for exchange in good.seen] == ["s@1"]
        assert other.seen == []


async def test_the_list_is_the_same_before_and_after_groups_are_there(tmp_path: Path) -> None:
    a = Upstream(then=engine("s@1"))
    async with upstreams(a), gateway(models=models(tmp_path, "style", "tone", refused="broken")) as running:
        running.know()
        before = await running.request("/v1/models", method="GET", data=None)
        running.know(a.endpoint("a", style="s@1"))
        after = await running.request("/v1/models", method="GET", data=None)
        assert before.body == after.body
        listed = json.loads(after.body)["data"]
        assert [(one["id"], one["parent"], one["root"]) for one in listed] == [
            ("d", None, "d"), ("style", "d", "d"), ("tone", "d", "d"),
        ]  # fmt: skip
        assert {one["max_model_len"] for one in listed} == {2048}
        one = await running.request("/v1/models/tone", method="GET", data=None)
        assert json.loads(one.body) == listed[2]
        refused = await running.request("/v1/models/broken", method="GET", data=None)
        assert (refused.status, refused.error["code"]) == (404, "adapter_refused")
        assert a.seen == []


async def test_a_long_body_that_cannot_be_told_is_refused(tmp_path: Path) -> None:
    a = Upstream(then=engine("s@1"))
    long = " " * (5 << 20)
    async with upstreams(a), gateway(models=models(tmp_path, "style")) as running:
        running.know(a.endpoint("a", style="s@1"))
        body = json.dumps({"model": "style", "prompt": long}).encode()
        fine = await running.request("/v1/completions", data=io.BytesIO(body))
        assert by(fine) == "s@1"
        twice = {"metadata": {"model": "x"}, "model": "style", "prompt": long}
        refused = await running.request("/v1/completions", data=io.BytesIO(json.dumps(twice).encode()))
        assert (refused.status, refused.error["code"]) == (400, "bad_request")
