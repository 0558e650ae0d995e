"""Who may read: what each scheme says to a stranger, and that credentials go where they belong and nowhere else."""

import base64
import hashlib
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from llama_serving.weights.source.factory import open_source
from llama_serving.weights.source.interface import Denied, Gone, Source
from tests.unit.weights.model.folders import FIRST
from tests.weights import servers
from tests.weights.faults import proxy
from tests.weights.hub import TOKEN, hub, serving
from tests.weights.models import SERVED
from tests.weights.places import SCHEMES, Servers, hub_place, secret
from tests.weights.servers import BUCKET, KEY, REPOSITORY


async def content(source: Source, path: str) -> bytes:
    return b"".join([piece async for piece in source.read(path)])


async def test_s3_with_a_wrong_secret(running: Servers, model: Path, tmp_path: Path) -> None:
    async with SCHEMES["s3"](model, tmp_path, running) as place:
        wrong = secret(
            tmp_path / "wrong",
            AWS_ACCESS_KEY_ID=KEY,
            AWS_SECRET_ACCESS_KEY="another",
            AWS_REGION="us-east-1",
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{running.s3}",
        )
        source = place.open(credentials=wrong)
        with pytest.raises(Denied, match=r"name a Secret in credentialsSecret with AWS_ACCESS_KEY_ID"):
            await source.list()
        with pytest.raises(Denied, match="SignatureDoesNotMatch"):
            await content(source, FIRST)


async def test_s3_without_a_secret_is_anonymous(running: Servers, model: Path, tmp_path: Path) -> None:
    async with SCHEMES["s3"](model, tmp_path, running) as place:
        only_where = secret(
            tmp_path / "where", AWS_ENDPOINT_URL=f"http://127.0.0.1:{running.s3}", AWS_SKIP_SIGNATURE="true"
        )
        with pytest.raises(Denied, match="403"):
            await place.open(credentials=only_where).list()


async def test_s3_without_such_a_bucket(running: Servers, model: Path, tmp_path: Path) -> None:
    async with SCHEMES["s3"](model, tmp_path, running) as place:
        source = open_source("s3://nothing/v1", revision="", credentials=place.credentials)
        with pytest.raises(Gone, match=r"NoSuchBucket.*check bucket and path in model\.source"):
            await source.list()


async def test_an_option_that_obstore_does_not_know(tmp_path: Path) -> None:
    keys = secret(tmp_path / "secret", AWS_COLOUR="blue")
    with pytest.raises(Gone, match="cannot be opened with these credentials"):
        open_source("s3://bucket/v1", revision="", credentials=keys)


@pytest.mark.parametrize(
    ("keys", "header"),
    [
        ({"token": "abc"}, "Bearer abc"),
        ({"authorization": "Digest x"}, "Digest x"),
        ({"username": "me", "password": "pw"}, f"Basic {base64.b64encode(b'me:pw').decode()}"),
        ({}, ""),
    ],
)
async def test_http_sends_its_credentials(model: Path, *, tmp_path: Path, keys: dict[str, str], header: str) -> None:
    seen: set[str] = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.add(request.headers.get("Authorization", ""))
        if request.headers.get("Authorization", "") != "Bearer abc":
            return web.Response(status=401)
        path = model / request.match_info["name"]
        return web.FileResponse(path) if path.exists() else web.Response(status=403)  # as S3's websites answer

    app = web.Application()
    app.router.add_get("/llama/{name}", answer)
    async with serving(app) as port:
        source = open_source(
            f"http://127.0.0.1:{port}/llama", revision="v1", credentials=secret(tmp_path / "secret", **keys)
        )
        try:
            if header == "Bearer abc":
                assert {*SERVED} <= {file.path for file in await source.list()}
            else:
                with pytest.raises(Denied, match="with the key authorization"):
                    await source.list()
        finally:
            await source.close()
    assert seen == {header}


async def test_http_without_ranges_is_read_from_the_start(model: Path) -> None:
    """A server that ignores Range costs bytes, and gives the right ones."""

    async def answer(request: web.Request) -> web.Response:
        path = model / request.match_info["name"]
        return web.Response(body=path.read_bytes()) if path.exists() else web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{name}", answer)
    async with serving(app) as port:
        source = open_source(f"http://127.0.0.1:{port}", revision="v1", credentials=None)
        try:
            assert {file.path: file.size for file in await source.list()}[FIRST] == (model / FIRST).stat().st_size
            assert not source.ranged
            pieces = [piece async for piece in source.read(FIRST, begin=1_000_000, end=1_000_100)]
            assert b"".join(pieces) == (model / FIRST).read_bytes()[1_000_000:1_000_100]
        finally:
            await source.close()


async def test_http_lists_what_its_sums_name(model: Path) -> None:
    (model / "SHA256SUMS").write_text(f"{hashlib.sha256((model / FIRST).read_bytes()).hexdigest()}  {FIRST}\n")
    app = web.Application()
    app.router.add_static("/", model)
    async with serving(app) as port:
        source = open_source(f"http://127.0.0.1:{port}", revision="v1", credentials=None)
        try:
            listed = await source.list()
        finally:
            await source.close()
    assert [(file.path, len(file.sha256)) for file in listed] == [(FIRST, 64)]


async def test_a_gated_model_of_the_hub(model: Path, tmp_path: Path) -> None:
    async with hub(model) as server, proxy(server.port) as front:
        server.gated = True
        place = hub_place(front, tmp_path)
        page = f"http://127.0.0.1:{front.port}/team/tiny"
        for number, token in enumerate(("", "hf_stranger")):
            keys = secret(tmp_path / str(number), HF_ENDPOINT=f"http://127.0.0.1:{front.port}", token=token)
            with pytest.raises(Denied, match=f"accept the model's license at {page}, and name a Secret"):
                await place.open(credentials=keys).resolve()
        assert {*SERVED} <= {file.path for file in await place.open().list()}
        await place.close()


async def test_the_hubs_token_does_not_go_to_its_cdn(model: Path, tmp_path: Path) -> None:
    async with hub(model) as server, proxy(server.port) as front:
        place = hub_place(front, tmp_path)
        assert await content(place.open(), FIRST) == (model / FIRST).read_bytes()
        assert set(server.tokens) == {f"Bearer {TOKEN}"}
        assert server.cdn_tokens == [""]
        await place.close()


async def test_the_hubs_rate_limit_is_a_retry_after(tmp_path: Path) -> None:
    """The Hub says in a header of its own when there are requests again."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"RateLimit": '"api";r=0;t=42'})

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    async with serving(app) as port:
        keys = secret(tmp_path / "secret", HF_ENDPOINT=f"http://127.0.0.1:{port}")
        source = open_source("hf://team/tiny", revision="main", credentials=keys)
        with pytest.raises(Exception, match="has no request left for 42 s") as busy:
            await source.list()
        assert getattr(busy.value, "after", None) == 42.0
        await source.close()


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("kind", ["username", "docker"])
async def test_a_registry_that_wants_a_token(model: Path, tmp_path: Path, kind: str) -> None:
    """The registry sends us to its realm; there the password counts, and only there it goes."""
    asked: list[dict[str, list[str]]] = []

    async def realm(request: web.Request) -> web.Response:
        asked.append(parse_qs(urlsplit(str(request.url)).query))
        if request.headers.get("Authorization") != f"Basic {base64.b64encode(b'me:pw').decode()}":
            return web.Response(status=401)
        return web.json_response({"token": "t"})

    app = web.Application()
    app.router.add_get("/token", realm)
    async with serving(app) as port:
        with servers.registry(tmp_path, realm=f"http://127.0.0.1:{port}/token") as registry:
            servers.push(registry, model, "v1")
            host = f"127.0.0.1:{registry}"
            docker = json.dumps({"auths": {host: {"auth": base64.b64encode(b"me:pw").decode()}}})
            good = {"username": {"username": "me", "password": "pw"}, "docker": {".dockerconfigjson": docker}}[kind]
            keys = secret(tmp_path / "good", **good)
            source = open_source(f"oci://{host}/{REPOSITORY}", revision="v1", credentials=keys)
            assert await content(source, FIRST) == (model / FIRST).read_bytes()
            await source.close()
            stranger = open_source(f"oci://{host}/{REPOSITORY}", revision="v1", credentials=None)
            with pytest.raises(Denied, match=r"with the keys username and password, or \.dockerconfigjson"):
                await stranger.resolve()
            await stranger.close()
    assert asked[0] == {"service": ["registry"], "scope": [f"repository:{REPOSITORY}:pull"]}


async def test_an_artifact_of_archives_is_refused(model: Path, running: Servers) -> None:
    servers.push(running.registry, model, "packed", media_type="application/vnd.oci.image.layer.v1.tar+gzip")
    source = open_source(f"oci://127.0.0.1:{running.registry}/{REPOSITORY}", revision="packed", credentials=None)
    with pytest.raises(Gone, match="push each file of the model as a layer, unpacked"):
        await source.list()
    await source.close()


async def test_an_index_of_one_artifact_is_followed(model: Path, running: Servers) -> None:
    digest = servers.push(running.registry, model, "single")
    kind = "application/vnd.oci.image.manifest.v1+json"
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": kind, "digest": digest, "size": 1}],
    }
    servers.push_manifest(running.registry, index, "index")
    source = open_source(f"oci://127.0.0.1:{running.registry}/{REPOSITORY}", revision="index", credentials=None)
    assert await source.resolve() == digest
    await source.close()


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("ftp://host/x", "has an unknown scheme"),
        ("nothing", "is no source"),
        (f"s3://{BUCKET}/a/../b", "climbs with"),
        ("https://host/{revision}", "model.revision is empty"),
    ],
)
def test_addresses_that_are_none(uri: str, sentence: str) -> None:
    with pytest.raises(Gone, match=sentence):
        open_source(uri, revision="", credentials=None)
