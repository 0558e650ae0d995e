"""Which key, or which client, a request names."""

import pytest
from multidict import CIMultiDict

from llama_serving.gateway.access.pure.presented import (
    LONGEST_CLIENT,
    client_of_address,
    client_of_header,
    digest_of,
    presented_key,
)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"Authorization": "Bearer sk-1"}, b"sk-1"),
        ({"authorization": "bearer  sk-1 "}, b"sk-1"),
        ({"api-key": "sk-2"}, b"sk-2"),
        ({"X-Api-Key": "sk-3"}, b"sk-3"),
        ({"Authorization": "Basic dTpw"}, None),
        ({"Authorization": "Bearer "}, None),
        ({"Authorization": "Basic dTpw", "api-key": "sk-2"}, b"sk-2"),
        ({"Authorization": "Bearer sk-1", "api-key": "sk-2"}, b"sk-1"),
    ],
)
def test_a_key_is_found_where_clients_of_openai_azure_and_anthropic_send_it(
    headers: dict[str, str], key: bytes | None
) -> None:
    assert presented_key(CIMultiDict(headers)) == key


def test_a_key_that_is_no_text_is_no_error() -> None:
    assert presented_key({"authorization": "Bearer \udcff"}) == b"\xff"
    assert len(digest_of(b"\xff")) == 32


def test_a_key_of_any_length_is_looked_at_in_part_only() -> None:
    found = presented_key({"authorization": "Bearer " + "k" * 8000})
    assert found is not None
    assert len(found) == 513


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_host_has_all_addresses_of_its_network(address: str, client: str) -> None:
    assert client_of_address(address) == client


def test_of_forwarded_addresses_the_one_counts_that_the_nearest_proxy_wrote() -> None:
    assert client_of_header("1.1.1.1, 2.2.2.2 , 3.3.3.3", header="X-Forwarded-For") == "3.3.3.3"
    assert client_of_header("made up, 2001:db8::1", header="x-forwarded-for") == "2001:db8::/64"
    assert client_of_header("1.1.1.1,", header="x-forwarded-for") == ""


def test_a_header_is_shown_as_it_is_only_where_it_is_short_and_plain() -> None:
    assert client_of_header("team-a@example.org", header="x-user") == "team-a@example.org"
    for value in ("x" * (LONGEST_CLIENT + 1), 'a"b', "a\nb", "{}"):
        shown = client_of_header(value, header="x-user")
        assert shown.startswith("sha256:")
        assert len(shown) == 39
