"""Pods that are kept from nodes: the affinity that they are created with, and what is read back from it."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.manifests.affinity import kept_from_nodes
from llama_operator.observe.pods import kept_from

REQUIRED, PREFERRED = (
    f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred")
)  # fmt: skip
NODES = st.lists(st.sampled_from(["a", "b", "c", "gpu-1"]), min_size=1, max_size=4, unique=True)
TERMS = st.lists(
    st.sampled_from(
        [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z1"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["x"]}]},
        ]
    ),
    max_size=3,
)


def read(affinity: dict[str, Any]) -> frozenset[str]:
    return kept_from({"spec": {"affinity": {"nodeAffinity": affinity}}})


@settings(deadline=None)
@given(nodes=NODES, terms=TERMS)
def test_every_alternative_of_another_affinity_gets_the_rule(nodes: list[str], terms: list[dict[str, Any]]) -> None:
    beside = {REQUIRED: {"nodeSelectorTerms": terms}} if terms else {}
    found = kept_from_nodes(nodes, required=True, beside=beside)
    assert read(found) >= set(nodes)
    made = found[REQUIRED]["nodeSelectorTerms"]
    assert len(made) == max(len(terms), 1)
    for before, after in zip(terms, made, strict=False):
        assert before.get("matchExpressions") == after.get("matchExpressions")
        assert after["matchFields"][: len(before.get("matchFields", ()))] == before.get("matchFields", [])
    fields = [field for term in made for field in term["matchFields"]]
    assert all(len(field["values"]) == 1 for field in fields), "the API server takes one value of a field"


def test_a_preference_rules_nothing_out() -> None:
    found = kept_from_nodes(["a"], required=False, beside={})
    assert list(found) == [PREFERRED]
    assert read(found) == frozenset()
    assert kept_from({}) == frozenset()
