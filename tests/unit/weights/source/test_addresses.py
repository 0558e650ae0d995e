"""Which addresses a source may have: by the address, however it is written, and never by the name."""

import socket
from typing import Any

import pytest
from aiohttp.abc import ResolveResult
from yarl import URL

from llama_serving.config import names
from llama_serving.weights.source.addresses import AddressRules, CheckedResolver, check_address, is_loopback, rules_from
from llama_serving.weights.source.interface import Gone
from llama_serving.weights.source.redirects import next_address

CLOSED = rules_from({names.ENV_SOURCE_NETWORKS: ""})
OLDER = rules_from({})
STORE = rules_from({names.ENV_SOURCE_NETWORKS: "10.96.0.0/12, fd12::/16"})

NEVER = [
    "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "0.0.0.0", "0.1.2.3",
    "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1",
]  # fmt: skip
LOOPBACK = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12:3456::1", "::ffff:10.0.0.1", "fc00::1"]
PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "8.8.8.8"]


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("rules", [CLOSED, OLDER, rules_from({names.ENV_SOURCE_NETWORKS: "0.0.0.0/0,::/0"})])
def test_what_is_never_read(address: str, rules: AddressRules) -> None:
    assert rules.refusal(address)


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_must_be_allowed(address: str) -> None:
    assert CLOSED.refusal(address)
    assert OLDER.refusal(address)
    assert not rules_from({names.ENV_SOURCE_NETWORKS: "127.0.0.0/8,::1/128"}).refusal(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_must_be_allowed(address: str) -> None:
    assert CLOSED.refusal(address)
    assert not OLDER.refusal(address)


def test_networks_that_are_allowed() -> None:
    assert not STORE.refusal("10.96.0.10")
    assert not STORE.refusal("fd12:3456::1")
    assert STORE.refusal("10.112.0.1")
    assert STORE.refusal("192.168.1.1")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_read(address: str) -> None:
    assert not CLOSED.refusal(address)


def test_the_sentence_names_host_and_value() -> None:
    with pytest.raises(Gone, match=r"^store\.example \(10\.0\.0\.1\) is an address inside .*sources\.networks"):
        check_address("store.example", "10.0.0.1", CLOSED)


async def test_only_allowed_addresses_of_a_name_are_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver returns is what is connected to: there is no second look that could differ."""
    answers = iter([["93.184.216.34", "169.254.169.254"], ["127.0.0.1"]])

    async def resolve(_: Any, host: str, port: int = 0, *_more: Any) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in next(answers)
        ]

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", resolve)
    resolver = CheckedResolver(CLOSED)
    assert [one["host"] for one in await resolver.resolve("rebinding.example", 443)] == ["93.184.216.34"]
    with pytest.raises(Gone, match="this pod itself"):
        await resolver.resolve("rebinding.example", 443)
    await resolver.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("example", False),
        ("10.0.0.1", False),
        ("127.1", False),
    ],
)
def test_what_is_written_as_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://a/x", "/y", "https://a/y"),
        ("https://a/x", "https://b/y?sig=1", "https://b/y?sig=1"),
        ("http://a/x", "https://a/x", "https://a/x"),
        ("http://a/x", "http://b/x", "http://b/x"),
    ],
)
def test_redirects_that_are_followed(url: str, location: str, target: str) -> None:
    assert next_address(URL(url), location) == URL(target)


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("http://a/x", "from https to http"),
        ("http://b/x", "from https to http"),
        ("file:///etc/passwd", "redirects to file"),
        ("ftp://a/x", "redirects to ftp"),
        ("", "0 characters"),
        ("/" + "a" * 20_000, "20001 characters"),
        ("https://[x/", "no address"),
    ],
)
def test_redirects_that_are_not(location: str, sentence: str) -> None:
    with pytest.raises(Gone, match=sentence):
        next_address(URL("https://a/x"), location)
