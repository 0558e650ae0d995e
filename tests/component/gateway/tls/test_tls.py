"""TLS on the port of the clients: certificates of openssl, real handshakes, and changes as the kubelet makes them."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.tls.pair import LONGEST, PairError, read_pair
from llama_serving.gateway.tls.reloading import ReloadingCertificate
from tests.component.gateway.running import Gateway, gateway, until
from tests.component.gateway.tls.certificates import Mounted, make_pair, openssl

NO_GROUP: tuple[Endpoint, ...] = ()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    folder = tmp_path_factory.mktemp("pairs")
    return {name: make_pair(folder / name, name) for name in ("first", "second")}


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "tls")


async def shown(port: int, *, name: str | None = "localhost") -> bytes:
    """The certificate that a new connection is shown, in DER; ``name``: what the client says that it wants."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name or "")
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert isinstance(found, bytes)
    return found


def der(pair: tuple[bytes, bytes]) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair[0].decode())


async def models(running: Gateway, trusted: tuple[bytes, bytes]) -> int:
    """The status of a request of a client that trusts this certificate."""
    context = ssl.create_default_context(cadata=trusted[0].decode())
    url = f"https://localhost:{running.port}/health"
    async with running.session.get(url, ssl=context) as response:
        return response.status


async def test_a_client_that_trusts_the_certificate_is_served(
    mounted: Mounted, pairs: dict[str, tuple[bytes, bytes]]
) -> None:
    mounted.put(crt=pairs["first"][0], key=pairs["first"][1])
    async with gateway(tls=True, certificates=mounted.folder) as running:
        running.know()
        assert await models(running, pairs["first"]) == 200
        assert (await running.admin("/ready")).status == 200, "probes speak plain HTTP"
        certificate = (await running.load()).certificate
        assert certificate is not None
        assert (certificate.fault, certificate.expires is not None) == ("", True)


async def test_another_name_or_none_gets_the_same_certificate(
    mounted: Mounted, pairs: dict[str, tuple[bytes, bytes]]
) -> None:
    mounted.put(crt=pairs["first"][0], key=pairs["first"][1])
    async with gateway(tls=True, certificates=mounted.folder) as running:
        for name in ("localhost", "chat.example.com", None):
            assert await shown(running.port, name=name) == der(pairs["first"])


async def test_a_new_certificate_is_shown_without_a_restart_and_open_connections_go_on(
    mounted: Mounted, pairs: dict[str, tuple[bytes, bytes]]
) -> None:
    mounted.put(crt=pairs["first"][0], key=pairs["first"][1])
    async with gateway(tls=True, certificates=mounted.folder) as running:
        context = ssl.create_default_context(cadata=pairs["first"][0].decode())
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as kept:
            url = f"https://localhost:{running.port}/health"
            async with kept.get(url, ssl=context) as response:
                assert response.status == 200
            mounted.put(crt=pairs["second"][0], key=pairs["second"][1])

            async def changed() -> bool:
                return await shown(running.port) == der(pairs["second"])

            await until(changed)
            async with kept.get(url, ssl=context) as response:
                assert response.status == 200, "the connection that was open trusts the first one only"
        assert await models(running, pairs["second"]) == 200


BROKEN: dict[str, Callable[[dict[str, tuple[bytes, bytes]]], dict[str, bytes]]] = {
    "its tls.key does not belong to its tls.crt": lambda pairs: {"crt": pairs["second"][0], "key": pairs["first"][1]},
    "its tls.crt or tls.key is no PEM": lambda pairs: {"crt": b"nothing", "key": pairs["second"][1]},
    "its tls.key is empty": lambda pairs: {"crt": pairs["second"][0], "key": b"\n"},
    "it has no tls.key": lambda pairs: {"crt": pairs["second"][0]},
    f"its tls.crt has more than {LONGEST} bytes": lambda _: {"crt": b"x" * (LONGEST + 1), "key": b"x"},
}


@pytest.mark.parametrize("expect", BROKEN)
async def test_what_cannot_be_used_leaves_the_last_good_one(
    mounted: Mounted, pairs: dict[str, tuple[bytes, bytes]], expect: str
) -> None:
    mounted.put(crt=pairs["first"][0], key=pairs["first"][1])
    async with gateway(tls=True, certificates=mounted.folder) as running:
        running.know()
        mounted.put(**BROKEN[expect](pairs))

        async def said() -> bool:
            found = (await running.load()).certificate
            return found is not None and expect in found.fault

        await until(said)
        assert await shown(running.port) == der(pairs["first"])
        assert (await running.admin("/ready")).status == 200
        mounted.put(crt=pairs["second"][0], key=pairs["second"][1])

        async def mended() -> bool:
            found = (await running.load()).certificate
            return found is not None and not found.fault and await shown(running.port) == der(pairs["second"])

        await until(mended)


async def test_without_any_certificate_a_gateway_is_not_ready_and_never_speaks_plain_http(
    mounted: Mounted, pairs: dict[str, tuple[bytes, bytes]]
) -> None:
    async with gateway(tls=True, certificates=mounted.folder) as running:
        running.know()
        ready = await running.admin("/ready")
        assert (ready.status, b"no certificate: it has no tls.crt" in ready.body) == (503, True)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shown(running.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"HTTP" not in await reader.read(100)
        writer.close()
        mounted.put(crt=pairs["first"][0], key=pairs["first"][1])

        async def is_ready() -> bool:
            return (await running.admin("/ready")).status == 200

        await until(is_ready)
        assert await models(running, pairs["first"]) == 200


async def test_a_plain_gateway_says_nothing_of_certificates() -> None:
    async with gateway() as running:
        running.know()
        assert "certificate" not in (await running.admin("/load")).body.decode()


# -- the watched folder, by the clock ----------------------------------------------------------------------------------


def test_one_that_is_over_does_not_take_the_place_of_one_that_is_not(
    mounted: Mounted, pairs: dict[str, tuple[bytes, bytes]], tmp_path: Path
) -> None:
    long_one = make_pair(tmp_path / "long", "long", days=300)
    mounted.put(crt=long_one[0], key=long_one[1])
    after_first = read_pair_of(pairs["first"], tmp_path) + 1
    watched = ReloadingCertificate(mounted.folder, clock=lambda: after_first)
    watched.look()
    kept = watched.state().expires
    mounted.put(crt=pairs["first"][0], key=pairs["first"][1])
    watched.look()
    assert "is over since" in watched.state().fault
    assert watched.state().expires == kept


def test_one_that_is_over_is_shown_where_there_is_no_other_and_it_is_said(
    mounted: Mounted, pairs: dict[str, tuple[bytes, bytes]]
) -> None:
    mounted.put(crt=pairs["first"][0], key=pairs["first"][1])
    watched = ReloadingCertificate(mounted.folder, clock=lambda: 4e9)
    watched.look()
    assert watched.ready
    assert "its certificate is over since" in watched.state().fault


def read_pair_of(pair: tuple[bytes, bytes], tmp_path: Path) -> float:
    other = Mounted(tmp_path / "other")
    other.put(crt=pair[0], key=pair[1])
    return read_pair(other.folder).expires


def test_an_encrypted_key_asks_nobody_for_a_password(mounted: Mounted, tmp_path: Path) -> None:
    crt, _ = make_pair(tmp_path / "made", "x")
    openssl(tmp_path / "made", "pkey", "-in", "k", "-aes256", "-passout", "pass:secret", "-out", "e")
    mounted.put(crt=crt, key=(tmp_path / "made" / "e").read_bytes())
    with pytest.raises(PairError, match="is encrypted"):
        read_pair(mounted.folder)
