"""What went between two lists is told; what objects keep is bounded by namespace."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llama_operator.adapters.watching.budget import ObjectBudget, size_of
from llama_operator.adapters.watching.known import KnownObjects
from llama_operator.api import API_VERSION, KIND
from llama_operator.ports import LEFT_OUT, Manifest


def config_map(uid: str, size: int = 0, *, namespace: str = "team") -> Manifest:
    meta: dict[str, Any] = {"name": f"cm-{uid}", "namespace": namespace, "uid": uid, "resourceVersion": "1"}
    meta["managedFields"] = [{"manager": "m"}]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"k": "x" * size}}


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "delete", "lose", "list"]), st.integers(0, 5), st.integers(0, 400)), max_size=40
)


@given(STEPS)
def test_whoever_follows_the_events_has_what_the_server_has(steps: list[tuple[str, int, int]]) -> None:
    known, server, shown = KnownObjects(ObjectBudget()), dict[str, Manifest](), set[str]()
    for what, number, size in steps:
        uid = f"u{number}"
        if what == "add":
            server[uid] = config_map(uid, size)
            known.see({"type": "MODIFIED", "object": config_map(uid, size)}, size=size)
            shown.add(uid)
        elif what == "delete" and uid in server:
            known.see({"type": "DELETED", "object": server.pop(uid)}, size=size)
            shown.discard(uid)
        elif what == "lose":
            server.pop(uid, None)
        else:
            pages = [config_map(uid) for uid in server]
            shown |= {one["metadata"]["uid"] for one in known.page(pages[:2], first=True)}
            shown |= {one["metadata"]["uid"] for one in known.page(pages[2:], first=False)}
            known.listed("9")
            for event in known.departures():
                assert (event["type"], event["object"]["metadata"]["resourceVersion"]) == ("DELETED", "9")
                shown.discard(event["object"]["metadata"]["uid"])
            assert shown == set(server)
    assert len(known) == len(shown)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 900)), max_size=60))
def test_no_namespace_keeps_more_than_its_budget(shown: list[tuple[str, int, int]]) -> None:
    budget = ObjectBudget(namespace=2000, total=4000, share=500)
    whole: dict[str, int] = {}
    for namespace, number, size in shown:
        body = config_map(f"{namespace}{number}", size, namespace=namespace)
        found = budget.shown(body, size)
        whole.pop(f"{namespace}{number}", None)
        if LEFT_OUT not in found:
            whole[f"{namespace}{number}"] = size
        for one in "abc":
            assert sum(kept for uid, kept in whole.items() if uid[0] == one) <= 2000
        assert sum(whole.values()) <= 4000 + 3 * 500
    assert sum(budget.held.values()) == sum(whole.values())


def test_one_flooder_costs_other_namespaces_nothing() -> None:
    budget = ObjectBudget(namespace=1000, total=1500, share=300)
    flood = [budget.shown(config_map(f"f{n}", 400, namespace=f"bad-{n % 5}"), 400) for n in range(50)]
    assert LEFT_OUT in flood[-1]
    assert LEFT_OUT not in budget.shown(config_map("mine", 290), 290)


def test_a_stub_names_the_object_and_says_why() -> None:
    found = ObjectBudget(namespace=100).shown(config_map("u1", 200), size_of(config_map("u1", 200)))
    assert (found["metadata"]["name"], "data" in found) == ("cm-u1", False)
    assert found[LEFT_OUT].endswith("and the objects of its namespace may have 100 together")
    assert "managedFields" not in found["metadata"]


def test_objects_of_our_own_kinds_are_always_shown() -> None:
    body = {**config_map("u1", 500), "apiVersion": API_VERSION, "kind": KIND}
    assert LEFT_OUT not in ObjectBudget(namespace=10).shown(body, 500)
