"""A source whose certificate a private authority signed: ``ca.crt`` in the Secret makes it trusted, and only that."""

import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from llama_serving.weights.source.factory import open_source
from llama_serving.weights.source.interface import Broken, Source
from tests.unit.weights.model.folders import FIRST
from tests.weights import servers
from tests.weights.faults import proxy
from tests.weights.hub import serving
from tests.weights.places import Servers, secret
from tests.weights.servers import BUCKET, KEY, SECRET


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with tls.key, tls.crt and the authority's ca.crt."""
    folder = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for arguments in (
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority"],
        ["req", *key, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=server"],
        ["x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-extfile", "names", "-out", "tls.crt"],
    ):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
    return made


async def length_of(source: Source) -> int:
    try:
        return sum([len(piece) async for piece in source.read(FIRST)])
    finally:
        await source.close()


@pytest.mark.parametrize("trusted", [True, False])
async def test_https(model: Path, *, tmp_path: Path, certificate: Path, context: ssl.SSLContext, trusted: bool) -> None:
    app = web.Application()
    app.router.add_static("/", model)
    keys = {"ca.crt": (certificate / "ca.crt").read_text()} if trusted else {}
    async with serving(app) as port, proxy(port, context) as front:
        uri = f"https://127.0.0.1:{front.port}"
        source = open_source(uri, revision="v1", credentials=secret(tmp_path / "secret", **keys))
        if trusted:
            assert await length_of(source) == (model / FIRST).stat().st_size
            return
        with pytest.raises(Broken, match="failed: certificate not trusted"):
            await length_of(source)


@pytest.mark.parametrize("trusted", [True, False])
async def test_s3(
    model: Path, *, tmp_path: Path, certificate: Path, context: ssl.SSLContext, running: Servers, trusted: bool
) -> None:
    servers.fill_s3(running.s3, model, tmp_path.name)
    keys = {"ca.crt": (certificate / "ca.crt").read_text()} if trusted else {}
    async with proxy(running.s3, context) as front:
        endpoint = f"https://127.0.0.1:{front.port}"
        account = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": endpoint}
        secret(tmp_path / "secret", **account, AWS_REGION="us-east-1", **keys)
        source = open_source(f"s3://{BUCKET}/{tmp_path.name}", revision="", credentials=tmp_path / "secret")
        if trusted:
            assert await length_of(source) == (model / FIRST).stat().st_size
            return
        with pytest.raises(Broken, match="failed: certificate not trusted"):
            await length_of(source)
