"""A page in a real browser calls the gateway from another origin: fetch, streams, EventSource, errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from aiohttp import web

from tests.component.gateway.clients.environment import HERE, program
from tests.component.gateway.clients.world import MODEL, TEXT, world
from tests.component.gateway.running import Gateway

pytestmark = pytest.mark.timeout(600)  # the browser may have to be installed first

SECONDS: Final = 120.0
OPTIONS: Final = (
    "--headless",
    "--no-sandbox",  # as root there is none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Page:
    """The page's server, on both names of this machine: two origins; ``result`` is what the page sent home."""

    def __init__(self) -> None:
        self.port = 0
        self.result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def origin(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}"

    async def take(self, request: web.Request) -> web.Response:
        self.result.set_result(json.loads(await request.read()))
        return web.Response()


@asynccontextmanager
async def page() -> AsyncIterator[Page]:
    served = Page()
    app = web.Application()
    app.router.add_get("/", _html)
    app.router.add_post("/result", served.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.port = runner.addresses[0][1]
    try:
        yield served
    finally:
        await runner.cleanup()


async def _html(_: web.Request) -> web.Response:
    return web.Response(text=(HERE / "page.html").read_text(), content_type="text/html")


async def visit(served: Page, running: Gateway, profile: Path, *, host: str = "127.0.0.1") -> dict[str, Any]:
    """Open the page in a browser; return what it sent home."""
    chromium = program("chromium", "chromium")
    query = urlencode({"base": f"http://127.0.0.1:{running.port}/v1", "model": MODEL})
    log = profile / "log"
    with log.open("wb") as output:
        command = (chromium, *OPTIONS, f"--user-data-dir={profile}", f"{served.origin(host)}/?{query}")
        browser = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
        try:
            async with asyncio.timeout(SECONDS):
                return await served.result
        except TimeoutError:
            raise AssertionError(f"the page sent nothing home: {log.read_text(errors='replace')[-3000:]}") from None
        finally:
            if browser.returncode is None:
                browser.terminate()
            await browser.wait()


async def test_a_page_of_a_listed_origin_can_do_all_that_chat_pages_do(tmp_path: Path) -> None:
    async with page() as served, world(cors_origins=(served.origin(),)) as (running, _):
        got = await visit(served, running, tmp_path)
    assert got == {
        "whole": TEXT,
        "models": [MODEL],
        "missing": [404, "model_not_found"],
        "tooLong": [431, "headers_too_large"],
        "streamed": {"stream": TEXT, "comments": True, "requestId": True},
        "eventSource": TEXT,
        "eventSourceWithCredentials": TEXT,
    }


async def test_where_every_page_may_call_none_may_send_credentials(tmp_path: Path) -> None:
    async with page() as served, world(cors_origins=("*",)) as (running, _):
        got = await visit(served, running, tmp_path)
    assert (got["whole"], got["streamed"]["stream"], got["eventSource"]) == (TEXT, TEXT, TEXT)
    assert got["eventSourceWithCredentials"] == "Error: the EventSource broke"


@pytest.mark.parametrize("listed", [True, False])
async def test_a_page_that_is_not_listed_can_do_nothing(tmp_path: Path, *, listed: bool) -> None:
    async with page() as served, world(cors_origins=(served.origin(),) if listed else ()) as (running, upstream):
        got = await visit(served, running, tmp_path, host="localhost")
        assert not [exchange for exchange in upstream.seen if exchange.method == "POST"]
    assert len(got) == 7
    assert {str(each) for each in got.values()} == {"TypeError: Failed to fetch", "Error: the EventSource broke"}
