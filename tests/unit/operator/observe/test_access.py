"""What is read of a Secret with a key: its rule or the one thing that is wrong with it, and never a value of it."""

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.observe.access import LONGEST_KEY, MOST_LABELS, key_secret, rules_secret
from llama_serving.config import names
from llama_serving.config.access.rules import AccessKey
from tests.fakes.edge import GOOD_KEY, a_secret, encoded

LABELS = {names.LABEL_DEPLOYMENT: "chat"}


def read(**fields: str) -> tuple[AccessKey | None, str]:
    found = key_secret(a_secret("ann", labels=LABELS, **fields))
    return found.rule, found.fault


def test_a_key_alone_has_no_limits() -> None:
    rule, fault = read(key=GOOD_KEY)
    assert fault == ""
    assert rule == AccessKey(name="ann", sha256=hashlib.sha256(GOOD_KEY.encode()).hexdigest())


def test_every_field() -> None:
    fields = {
        "tokensPerMinute": "60000", "requestsPerMinute": "60", "concurrentRequests": "4", "weight": "3",
        "priority": "-1", "models": "chat, chat-sql,chat", "expires": "2027-01-31T00:00:00+01:00",
    }  # fmt: skip
    rule, fault = read(key=GOOD_KEY, **fields)
    assert fault == ""
    assert rule is not None
    assert (rule.tokens_per_minute, rule.requests_per_minute, rule.concurrent_requests) == (60000, 60, 4)
    assert (rule.weight, rule.priority, rule.models) == (3, -1, ("chat", "chat-sql"))
    assert rule.expires == 1801350000.0


BAD: list[tuple[dict[str, str], str]] = [
    ({}, "it has no field key"),
    ({"key": "short"}, "its key has 5 characters, at least 32 are needed"),
    ({"key": ""}, "its key has 0 characters"),
    ({"key": GOOD_KEY + "\n"}, "its key ends with a line break"),
    ({"key": f"Bearer {GOOD_KEY}"}, "its key has a space"),
    ({"key": GOOD_KEY + "é"}, "not printable ASCII"),
    ({"key": "x" * (LONGEST_KEY + 1)}, f"at most {LONGEST_KEY} are taken"),
    ({"key": "x" * 5000}, f"longer than the {LONGEST_KEY} characters"),
    ({"key": GOOD_KEY, "tokenPerMinute": "5"}, "it has a field tokenPerMinute that is none of key, tokensPerMinute"),
    ({"key": GOOD_KEY, "tokensPerMinute": "0"}, "its field tokensPerMinute is not a whole number from 1 to"),
    ({"key": GOOD_KEY, "tokensPerMinute": "1e6"}, "its field tokensPerMinute is not a whole number"),
    ({"key": GOOD_KEY, "requestsPerMinute": "-5"}, "its field requestsPerMinute is not a whole number"),
    ({"key": GOOD_KEY, "weight": "1001"}, "its field weight is not a whole number from 1 to 1000"),
    ({"key": GOOD_KEY, "priority": "101"}, "its field priority is not a whole number from -100 to 100"),
    ({"key": GOOD_KEY, "priority": "--1"}, "its field priority is not a whole number"),
    ({"key": GOOD_KEY, "models": " "}, "its field models is empty"),
    ({"key": GOOD_KEY, "models": "chat,,sql"}, "its field models is not a list of model names"),
    ({"key": GOOD_KEY, "models": ",".join(f"m{n}" for n in range(129))}, "its field models has 129 names"),
    ({"key": GOOD_KEY, "expires": "2027-01-31"}, "its field expires is not a time with its zone"),
    ({"key": GOOD_KEY, "expires": "2027-01-31T00:00:00"}, "its field expires is not a time with its zone"),
    ({"key": GOOD_KEY, "expires": "2027-02-31T00:00:00Z"}, "its field expires is not a time with its zone"),
]


@pytest.mark.parametrize(("fields", "expect"), BAD, ids=[expect for _, expect in BAD])
def test_what_is_wrong_is_said_with_field_and_remedy(fields: dict[str, str], expect: str) -> None:
    rule, fault = read(**fields)
    assert rule is None
    assert expect in fault
    assert any(word in fault for word in (";", ":", "such as")), "there is no remedy in it"


def test_what_is_no_base64_is_refused() -> None:
    body = a_secret("ann", labels=LABELS)
    body["data"] = {"key": "%%%"}
    assert "not base64" in key_secret(body).fault


@given(
    field=st.sampled_from(("key", "tokensPerMinute", "weight", "models", "expires", "anything")),
    value=st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=32, max_size=80),
    tail=st.sampled_from(("", "\n", " ", "\x00", "é")),
)
def test_no_sentence_shows_what_a_field_holds(field: str, value: str, tail: str) -> None:
    """A key may stand in any field by mistake, also as the name of one."""
    for fields in ({field: value + tail}, {"key": GOOD_KEY, field: value + tail}, {value: GOOD_KEY}):
        body = a_secret("ann", labels=LABELS)
        body["data"] = encoded(fields)
        found = key_secret(body)
        assert value not in found.fault
        assert value not in repr(found) or (found.rule is not None and found.rule.models == (value,))


@given(st.dictionaries(st.text(max_size=30), st.binary(max_size=600), max_size=6))
def test_any_content_is_a_rule_or_a_fault(data: dict[str, Any]) -> None:
    body = a_secret("ann", labels=LABELS)
    body["data"] = {name: base64.b64encode(value).decode() for name, value in data.items()}
    found = key_secret(body)
    assert (found.rule is None) == bool(found.fault)
    assert len(found.fault) < 300


def test_what_is_kept_of_labels_is_bounded() -> None:
    found = key_secret(a_secret("ann", labels={f"l{n:03}": "x" for n in range(500)}, key=GOOD_KEY))
    assert len(found.labels) == MOST_LABELS


def test_of_rules_only_a_hash_is_kept() -> None:
    body = a_secret("chat-access", labels={names.LABEL_ACCESS_KEY: names.ACCESS_RULES}, **{"access.json": "x" * 10_000})
    body["metadata"]["ownerReferences"] = [{"uid": "u"}]
    found = rules_secret(body)
    assert (len(found.content), found.owners) == (64, frozenset({"u"}))
