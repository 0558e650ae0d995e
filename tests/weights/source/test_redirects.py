"""Credentials stay at their origin, whatever a server answers, and no server leads us to what is not a source."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from llama_serving.config import names
from llama_serving.weights.source.factory import open_source
from llama_serving.weights.source.interface import Denied, Gone
from tests.weights.hub import serving
from tests.weights.places import secret

CONFIG = b"{}"


class Server:
    """Answers every GET as ``answer`` says; remembers Host and Authorization of each."""

    def __init__(self, location: str = "", *, challenge: str = "") -> None:
        self.location = location  # prefix that every path is redirected to
        self.challenge = challenge
        self.asked: list[str] = []  # Authorization
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers.get("Authorization", ""))
        if self.challenge:
            return web.Response(status=401, headers={"WWW-Authenticate": self.challenge})
        if self.location:
            return web.Response(status=302, headers={"Location": self.location + request.path})
        return web.Response(body=CONFIG) if request.path.endswith("/config.json") else web.Response(status=404)


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    app = web.Application()
    app.router.add_get("/{tail:.*}", server.answer)
    async with serving(app) as port:
        server.port = port
        yield server


async def test_a_redirect_to_another_host_gets_no_credentials(tmp_path: Path) -> None:
    async with running(Server()) as other, running(Server(f"http://localhost:{other.port}")) as first:
        keys = secret(tmp_path / "s", token="TOKEN")
        source = open_source(f"http://127.0.0.1:{first.port}/m", revision="v1", credentials=keys)
        assert [file.path for file in await source.list()] == ["config.json"]
        await source.close()
    assert set(first.asked) == {"Bearer TOKEN"}
    assert set(other.asked) == {""}


async def test_credentials_do_not_come_back_after_a_foreign_host(tmp_path: Path) -> None:
    """The foreign host would choose which of our paths is read with our credentials."""
    home = Server()
    foreign = Server()
    async with running(home), running(foreign):
        home.location, foreign.location = f"http://localhost:{foreign.port}", f"http://127.0.0.1:{home.port}/private"
        keys = secret(tmp_path / "s", token="TOKEN")
        source = open_source(f"http://127.0.0.1:{home.port}/m", revision="v1", credentials=keys)
        with pytest.raises(Gone, match="redirects more than 5 times"):
            _ = [piece async for piece in source.read("config.json")]
        await source.close()
    assert home.asked == ["Bearer TOKEN", "", ""]
    assert set(foreign.asked) == {""}


async def test_a_loop_of_redirects_ends() -> None:
    async with running(Server("/again")) as server:
        source = open_source(f"http://127.0.0.1:{server.port}/m", revision="v1", credentials=None)
        with pytest.raises(Gone, match="there is neither"):
            await source.list()
        with pytest.raises(Gone, match="redirects more than 5 times"):
            _ = [piece async for piece in source.read("config.json")]
        await source.close()


@pytest.mark.parametrize(
    "place", ["127.0.0.1:{port}", "localhost:{port}", "127.1:{port}", "[::ffff:127.0.0.1]:{port}", "0x7f000001:{port}"]
)
async def test_loopback_is_no_source(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.ENV_SOURCE_NETWORKS, "")
    async with running(Server()) as server:
        source = open_source(f"http://{place.format(port=server.port)}/m", revision="v1", credentials=None)
        with pytest.raises(Gone, match=r"this pod itself|is no address"):
            _ = [piece async for piece in source.read("config.json")]
        with pytest.raises(Gone, match=r"this pod itself|is no address"):
            await source.list()
        await source.close()
    assert server.asked == []


async def test_metadata_is_no_source_even_by_a_redirect() -> None:
    async with running(Server("http://169.254.169.254/latest")) as server:
        source = open_source(f"http://127.0.0.1:{server.port}/m", revision="v1", credentials=None)
        with pytest.raises(Gone, match=r"169\.254\.169\.254 is an address of this machine or of its cloud"):
            _ = [piece async for piece in source.read("config.json")]
        await source.close()


async def test_a_store_at_loopback_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.ENV_SOURCE_NETWORKS, "")
    async with running(Server()) as server:
        keys = secret(
            tmp_path / "s", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", AWS_REGION="r",
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}",
        )  # fmt: skip
        source = open_source("s3://bucket/v1", revision="", credentials=keys)
        with pytest.raises(Gone, match="this pod itself"):
            await source.list()
    assert server.asked == []


@pytest.mark.parametrize("kind", ["http", "hf", "s3", "gs"])
async def test_credentials_do_not_go_over_plain_http(tmp_path: Path, kind: str) -> None:
    store = "http://store.example:9000"
    cases = {
        "http": (f"{store}/m", {"token": "T"}),
        "hf": ("hf://team/tiny", {"token": "T", "HF_ENDPOINT": store}),
        "s3": ("s3://bucket/v1", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": store}),
        "gs": ("gs://bucket/v1", {"GOOGLE_SERVICE_ACCOUNT_KEY": '{"gcs_base_url": "http://store.example"}'}),
    }
    uri, keys = cases[kind]

    async def listed() -> None:
        await open_source(uri, revision="main", credentials=secret(tmp_path / "s", **keys)).list()

    with pytest.raises(Denied, match=r"not sent to store\.example over plain http: use https, or set plain-http"):
        await listed()


async def test_a_login_goes_to_no_realm_of_another_host(tmp_path: Path) -> None:
    async with running(Server()) as realm:
        challenge = f'Bearer realm="http://localhost:{realm.port}/token",service="x"'
        async with running(Server(challenge=challenge)) as registry:
            keys = secret(tmp_path / "s", username="U", password="P")
            source = open_source(f"oci://127.0.0.1:{registry.port}/a/b", revision="v1", credentials=keys)
            with pytest.raises(Denied, match="credentials go there only if the Secret names it under token-realm"):
                await source.resolve()
            await source.close()
            assert realm.asked == []
            named = secret(
                tmp_path / "n", **{"username": "U", "password": "P", "token-realm": f"http://localhost:{realm.port}"}
            )
            source = open_source(f"oci://127.0.0.1:{registry.port}/a/b", revision="v1", credentials=named)
            with pytest.raises(Gone):
                await source.resolve()
            await source.close()
    assert set(realm.asked) == {f"Basic {base64.b64encode(b'U:P').decode()}"}
