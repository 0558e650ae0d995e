"""Which nodes a pod's required node affinity allows: a table, and what holds for all terms."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.plan.placement.fit import may_run, why_not
from llama_operator.plan.placement.node_affinity import meets, show_terms
from llama_operator.ports import NodeCapacity, PodRequest

LABELS = {"zone": "a", "generation": "9", "gpu": "", "word": "x"}


def node(name: str = "one", **labels: str) -> NodeCapacity:
    return NodeCapacity(name, labels, True, True, allocatable={}, requested={})


def condition(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (condition("zone", "In", "a", "b"), True),
        (condition("zone", "In", "b"), False),
        (condition("none", "In", "a"), False),
        (condition("zone", "NotIn", "b"), True),
        (condition("zone", "NotIn", "a"), False),
        (condition("none", "NotIn", "a"), True),
        (condition("gpu", "Exists"), True),
        (condition("none", "Exists"), False),
        (condition("gpu", "DoesNotExist"), False),
        (condition("none", "DoesNotExist"), True),
        (condition("generation", "Gt", "8"), True),
        (condition("generation", "Gt", "9"), False),
        (condition("generation", "Gt", "10"), False),
        (condition("generation", "Lt", "10"), True),
        (condition("word", "Gt", "1"), False),
        (condition("word", "Lt", "1"), False),
        (condition("none", "Gt", "1"), False),
        (condition("zone", "Near", "a"), False),
    ],
    ids=str,
)
def test_a_condition(found: dict[str, Any], holds: bool) -> None:
    assert meets(node(**LABELS), [{"matchExpressions": [found]}]) is holds


@pytest.mark.parametrize(
    ("terms", "holds"),
    [
        ([], True),
        ([{}], False),
        ([{"matchExpressions": []}], False),
        (
            [{"matchExpressions": [condition("zone", "In", "b")]}, {"matchExpressions": [condition("gpu", "Exists")]}],
            True,
        ),
        ([{"matchExpressions": [condition("zone", "In", "a"), condition("none", "Exists")]}], False),
        ([{"matchFields": [condition("metadata.name", "In", "one")]}], True),
        ([{"matchFields": [condition("metadata.name", "In", "two")]}], False),
    ],
    ids=str,
)
def test_terms(terms: list[dict[str, Any]], holds: bool) -> None:
    assert meets(node(**LABELS), terms) is holds


CONDITIONS = st.builds(
    lambda key, operator, values: condition(key, operator, *values),
    st.sampled_from([*LABELS, "none"]),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]),
    st.lists(st.sampled_from(["a", "b", "8", "9", "x"]), min_size=1, max_size=3),
)
TERMS = st.lists(
    st.builds(lambda all_: {"matchExpressions": all_}, st.lists(CONDITIONS, min_size=1, max_size=3)), min_size=1
)


@given(TERMS, TERMS)
def test_a_term_more_allows_more_and_a_condition_more_allows_less(
    some: list[dict[str, Any]], more: list[dict[str, Any]]
) -> None:
    one = node(**LABELS)
    assert meets(one, some + more) is (meets(one, some) or meets(one, more))
    both = [{"matchExpressions": a["matchExpressions"] + b["matchExpressions"]} for a in some for b in more]
    assert meets(one, both) is (meets(one, some) and meets(one, more))


def test_in_and_not_in_are_opposites_as_exists_and_does_not_exist() -> None:
    for key in (*LABELS, "none"):
        for yes, no in (("In", "NotIn"), ("Exists", "DoesNotExist")):
            found = [meets(node(**LABELS), [{"matchExpressions": [condition(key, one, "a")]}]) for one in (yes, no)]
            assert sorted(found) == [False, True], key


def test_what_keeps_a_pod_away_is_said_with_the_terms() -> None:
    terms = ({"matchExpressions": [condition("zone", "In", "b", "c"), condition("gpu", "Exists")]},)
    pod = PodRequest("team", "p", "u", node_terms=terms)
    assert not may_run(pod, node(**LABELS))
    assert why_not(pod, node(**LABELS)) == "without what placement.nodeAffinity asks for (zone In b,c and gpu Exists)"
    assert show_terms([*terms, {"matchExpressions": [condition("a", "Exists")]}]).endswith(", or a Exists")
