"""Who is known, and for how long."""

import hashlib

from llama_serving.config.access.rules import AccessKey, AccessLimits, AccessRules
from llama_serving.gateway.access.pure.account import Account
from llama_serving.gateway.access.pure.accounts import FORGOTTEN_AFTER, MOST_CLIENTS, OTHERS, Accounts


def key(name: str, secret: str = "", **more: object) -> AccessKey:
    digest = hashlib.sha256((secret or name).encode()).hexdigest()
    return AccessKey.model_validate({"name": name, "sha256": digest, **more})


def keys(*given: AccessKey) -> AccessRules:
    return AccessRules(mode="keys", keys=given)


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def test_a_key_is_found_by_its_hash_alone() -> None:
    accounts = Accounts()
    accounts.take_over(keys(key("a"), key("b", models=("llama", "style"))), 0.0)
    found = accounts.key(digest("b"))
    assert found is not None
    assert (found.account.name, found.models) == ("b", frozenset({"llama", "style"}))
    assert accounts.key(digest("c")) is None


def test_new_rules_leave_what_was_taken_and_drop_what_was_revoked() -> None:
    accounts = Accounts()
    accounts.take_over(keys(key("a", tokens_per_minute=100), key("b")), 0.0)
    before = accounts.get("a")
    assert before is not None
    assert before.reserve(60, 0.0) is None
    accounts.take_over(keys(key("a", "rotated", tokens_per_minute=200)), 0.0)
    assert accounts.get("a") is before
    assert accounts.get("b") is None
    assert not accounts.knows(digest("a"))
    assert accounts.knows(digest("rotated"))
    assert before.tokens is not None
    assert before.tokens.level == 140


def open_to_all(limit: int | None = None) -> Accounts:
    accounts = Accounts()
    accounts.take_over(AccessRules(client=AccessLimits(requests_per_minute=limit)), 0.0)
    return accounts


def test_the_number_of_remembered_clients_is_bounded() -> None:
    accounts = open_to_all(1)
    for number in range(MOST_CLIENTS):
        assert accounts.client(str(number), 0.0).begin(0.0) is None
    for number in range(10):
        assert accounts.client(f"new {number}", 1.0).name == OTHERS
    assert len([*accounts]) <= MOST_CLIENTS + 1


def test_nobody_is_forgotten_by_a_stranger_with_many_addresses_before_a_minute_is_over() -> None:
    accounts = open_to_all(1)
    first = accounts.client("first", 0.0)
    assert first.begin(0.0) is None
    for number in range(2 * MOST_CLIENTS):
        accounts.client(f"stranger {number}", 1.0).begin(1.0)
    again = accounts.client("first", 2.0)
    assert again is first
    assert again.begin(2.0) is not None


def test_an_idle_client_makes_room() -> None:
    accounts = open_to_all()
    for number in range(MOST_CLIENTS):
        accounts.client(str(number), 0.0).last_used = 0.0
    late = accounts.client("late", FORGOTTEN_AFTER)
    assert late.name == "late"
    assert accounts.get("0") is None
    busy = accounts.get("1")
    assert busy is not None
    busy.visits.add(object())
    assert accounts.client("later", FORGOTTEN_AFTER).name == OTHERS


def test_a_client_that_calls_elsewhere_is_known_here_and_not_told_of() -> None:
    accounts = open_to_all(5)
    heard = accounts.hear_of("far", 1000.0)
    assert isinstance(heard, Account)
    assert accounts.client("far", 1000.0) is heard
    accounts.take_over(keys(key("a")), 1000.0)
    assert accounts.hear_of("far", 1000.0) is None
