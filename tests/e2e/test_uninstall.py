"""``kubectl delete`` leaves no object behind, ``helm uninstall`` none but the CRDs."""

import pytest

from examples.cluster import RELEASE
from tests.e2e.support.bed import NAMESPACE, Bed
from tests.e2e.support.faults import until

OURS = "llamadeployments.llama-operator.dev"
CLAIM = "persistentvolumeclaim/"  # the user's models


def everything(bed: Bed) -> set[str]:
    """Every object in the namespace but events and what the namespace has by itself."""
    listed = bed.kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    kinds = [kind for kind in listed if not kind.startswith("events")]
    found = bed.kubectl("get", ",".join(kinds), "--ignore-not-found", "-o", "name", "--show-kind").split()
    return set(found) - {"configmap/kube-root-ca.crt", "serviceaccount/default"}


@pytest.mark.usefixtures("pair")
def test_delete_leaves_nothing(bed: Bed) -> None:
    bed.kubectl("delete", "llamadeployment", "--all", "--wait=true", "--timeout=180s")

    def rest() -> str:
        return ", ".join(sorted(name for name in everything(bed) if RELEASE not in name and not name.startswith(CLAIM)))

    until("no object of the deployment is left", rest, 180)


def test_uninstall_leaves_the_crds_only(bed: Bed) -> None:
    before = set(bed.kubectl("get", "crds", "-o", "name").split())
    bed.helm("uninstall", RELEASE, "--wait")
    until(
        "no object of the release is left",
        lambda: ", ".join(n for n in everything(bed) if not n.startswith(CLAIM)),
        120,
    )
    cluster = bed.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name").split()
    assert not [name for name in cluster if NAMESPACE in name]
    assert set(bed.kubectl("get", "crds", "-o", "name").split()) == before
    assert f"customresourcedefinition.apiextensions.k8s.io/{OURS}" in before
