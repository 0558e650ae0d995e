"""Rules from Secrets: sorted, bounded, the oldest first where not all fit; and what a status says of the rest."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.api import LlamaDeploymentStatus
from llama_operator.api.v1alpha1.edge.access import AccessSpec
from llama_operator.api.v1alpha1.edge.access_status import MOST_NAMED, AccessStatus
from llama_operator.observe.access import key_secret
from llama_operator.plan.edge.access import decide_access
from llama_operator.plan.planner import plan
from llama_operator.ports import AccessSecrets, KeySecret
from llama_operator.status.deployment import deployment_status
from llama_serving.config import names
from llama_serving.config.access.rules import LONGEST_ACCESS, MOST_KEYS, AccessKey, AccessLimits
from llama_serving.config.reasons import Reason
from tests.fakes.edge import GOOD_KEY, a_secret
from tests.unit.operator.worlds import NOW, group, heard, state_of, world

KEYS = AccessSpec.model_validate({"mode": "keys"})
MINE = {names.LABEL_DEPLOYMENT: "chat"}


def a_key(number: int, **fields: Any) -> KeySecret:
    """A good key; the higher the number, the younger."""
    name = f"key-{number:05}"
    rule = AccessKey(name=name, sha256=f"{fields.pop('hash', number):064x}", **fields)
    return KeySecret(name, f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z", MINE, rule)


def decide(*keys: KeySecret, access: AccessSpec = KEYS) -> Any:
    return decide_access(access, AccessSecrets(keys), deployment="chat")


def test_the_default_selector_is_the_label_of_the_deployment() -> None:
    other = replace(a_key(1), labels={names.LABEL_DEPLOYMENT: "other"})
    assert [one.name for one in decide(a_key(0), other).rules.keys] == ["key-00000"]


def test_a_selector_finds_by_its_labels_alone() -> None:
    access = AccessSpec.model_validate({"mode": "keys", "keys": {"selector": {"matchLabels": {"team": "a", "x": "y"}}}})
    both = replace(a_key(1), labels={"team": "a", "x": "y", "z": "z"})
    one = replace(a_key(2), labels={"team": "a"})
    assert [key.name for key in decide(a_key(0), both, one, access=access).rules.keys] == ["key-00001"]


def test_of_two_secrets_with_one_key_the_older_may_call() -> None:
    found = decide(a_key(5, hash=1), a_key(3, hash=1), a_key(4))
    assert [one.name for one in found.rules.keys] == ["key-00003", "key-00004"]
    assert found.refused["key-00005"] == (
        "the key in Secret key-00005 may not call: Secret key-00003 has the same key; make another one"
    )


def test_a_refused_secret_holds_no_key_of_its_own() -> None:
    """A broken copy does not keep the key from the Secret that is right."""
    broken = replace(a_key(0, hash=1), rule=None, fault="its field weight is not a whole number")
    found = decide(broken, a_key(3, hash=1))
    assert [one.name for one in found.rules.keys] == ["key-00003"]


def test_the_newest_of_too_many_are_left_out() -> None:
    found = decide(*(a_key(number) for number in range(MOST_KEYS + 2)))
    assert len(found.rules.keys) == MOST_KEYS
    assert sorted(found.refused) == ["key-02048", "key-02049"]
    assert f"{MOST_KEYS} older ones are there" in found.refused["key-02048"]


def test_rules_are_never_longer_than_gateways_read() -> None:
    models = tuple(f"{'m' * 240}-{number}" for number in range(16))
    found = decide(*(a_key(number, models=models) for number in range(400)))
    assert found.refused
    assert len(found.rules.model_dump_json(exclude_defaults=True).encode()) <= LONGEST_ACCESS
    assert f"more than {LONGEST_ACCESS} bytes" in next(iter(found.refused.values()))


KEY_LISTS = st.lists(
    st.builds(
        lambda number, shared, broken: (
            replace(a_key(number, hash=shared), rule=None, fault="it is broken: mend it") if broken
            else a_key(number, hash=shared)
        ),
        st.integers(0, 40), st.integers(0, 10), st.booleans(),
    ),
    unique_by=lambda one: one.name, max_size=20,
)  # fmt: skip


@given(KEY_LISTS, st.randoms())
@settings(max_examples=60)
def test_rules_do_not_depend_on_the_order_and_every_secret_is_in_one_place(keys: list[KeySecret], random: Any) -> None:
    found = decide(*keys)
    shuffled = list(keys)
    random.shuffle(shuffled)
    assert decide(*shuffled) == found
    kept = [one.name for one in found.rules.keys]
    assert kept == sorted(kept)
    assert sorted([*kept, *found.refused]) == sorted(one.name for one in keys)
    assert len({one.sha256 for one in found.rules.keys}) == len(kept), "no key is there twice"


@given(KEY_LISTS, st.integers(41, 59), st.integers(0, 10))
@settings(max_examples=60)
def test_a_new_secret_takes_nothing_from_an_older_one(keys: list[KeySecret], number: int, shared: int) -> None:
    before, after = decide(*keys), decide(*keys, a_key(number, hash=shared))
    assert set(before.rules.keys) <= set(after.rules.keys)


def test_the_open_mode_has_the_limits_of_clients_and_no_keys() -> None:
    access = AccessSpec.model_validate({"mode": "open", "clients": {"header": "x-user", "requestsPerMinute": 60}})
    found = decide(a_key(0), access=access)
    assert (found.rules.mode, found.rules.keys, found.rules.client_header) == ("open", (), "x-user")
    assert found.rules.client == AccessLimits(requests_per_minute=60)


# -- what a status says ------------------------------------------------------------------------------------------------

PODS = (*group(0), *group(1))


def status_of(secrets: AccessSecrets | None, access: dict[str, Any] | None = None, **fields: Any) -> Any:
    asked = {} if access == {} else {"access": access or {"mode": "keys"}}
    seen = world(*PODS, cells=heard(*PODS), spec=asked, access=secrets, **fields)
    state = state_of(seen)
    return deployment_status(state, plan(state), ())


def condition(status: LlamaDeploymentStatus, kind: str) -> tuple[str, str, str]:
    found = next(one for one in status.conditions if one.type == kind)
    return found.status, found.reason, found.message


def good(number: int) -> KeySecret:
    return key_secret(a_secret(f"key-{number}", labels=MINE, key=f"{GOOD_KEY}{number}"))


def test_a_bad_secret_is_named_and_hurts_its_own_key_only() -> None:
    bad = key_secret(a_secret("weak", labels=MINE, key="short"))
    status = status_of(AccessSecrets((good(0), bad)))
    assert (status.access.keys_ready, status.access.keys_refused) == (1, 1)
    (named,) = status.access.refused
    assert (named.secret, named.reason) == ("weak", Reason.KEY_REFUSED)
    assert "has 5 characters, at least 32" in named.message
    assert condition(status, "AccessReady")[:2] == ("False", "KeyRefused")
    assert condition(status, "Ready")[0] == "True", "the others go on working"
    assert status.reason == Reason.SERVING


def test_without_a_key_it_is_said_that_nobody_may_call_and_what_to_do() -> None:
    status = status_of(AccessSecrets())
    assert status.reason == Reason.NO_KEY
    assert "label a Secret llama-operator.dev/access-key=true,llama-operator.dev/deployment=chat" in status.message


def test_an_expired_key_is_counted_as_one() -> None:
    rule = AccessKey(name="old", sha256="0" * 64, expires=(NOW - timedelta(seconds=1)).timestamp())
    status = status_of(AccessSecrets((KeySecret("old", "", MINE, rule), good(1))))
    assert (status.access.keys_ready, status.access.keys_expired) == (1, 1)
    assert condition(status, "AccessReady") == ("True", "Serving", "1 key may call, 1 expired")


def test_a_missing_right_comes_first_and_names_the_value_of_the_chart() -> None:
    status = status_of(AccessSecrets(denied="secrets is forbidden"))
    assert status.reason == Reason.ACCESS_UNREADABLE
    assert "rbac.accessKeys=true: secrets is forbidden" in status.message


def test_rules_that_are_not_taken_are_said() -> None:
    status = status_of(AccessSecrets((good(0),)), access_fault="it exists and belongs to nobody")
    assert status.reason == Reason.ACCESS_UNREADABLE
    assert "belongs to nobody" in status.message


def test_while_secrets_are_not_listed_the_status_keeps_what_it_says() -> None:
    before = LlamaDeploymentStatus(access=AccessStatus(mode="keys", keys_ready=7))
    status = status_of(None, access_fault="no connection", status=before)
    assert status.access.keys_ready == 7
    assert any(one.reason == Reason.API_RETRY and "not listed yet" in one.message for one in status.conditions)


def test_the_status_names_some_of_many() -> None:
    bad = tuple(key_secret(a_secret(f"bad-{number:03}", labels=MINE, key="x")) for number in range(40))
    status = status_of(AccessSecrets(bad))
    assert (status.access.keys_refused, len(status.access.refused)) == (40, MOST_NAMED)
    assert [one.secret for one in status.access.refused] == sorted(one.secret for one in status.access.refused)


def test_a_spec_without_access_says_nothing_of_it() -> None:
    status = status_of(None, access={})
    assert status.access is None
    assert "AccessReady" not in {one.type for one in status.conditions}
