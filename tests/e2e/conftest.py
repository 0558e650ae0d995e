"""One test bed and one pair of groups for all end-to-end tests: a cell's start is what costs time."""

import sys
from pathlib import Path

import pytest

from examples.cluster import bed_environment, folder_claim, install_chart, restricted_namespace
from examples.steps import run
from tests.e2e.bed import NAMESPACE, Bed, manifest, tiny_model

PAIR = "pair"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They all need the whole bed, and minutes."""
    for item in items:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="session")
def bed() -> Bed:
    """The test bed with our images and the chart installed; it stays up for the next run."""
    for command in ("up", "images"):
        run([sys.executable, "-m", "testbed", command])
    environment = bed_environment()
    bed = Bed(environment, Path(environment["KUBECONFIG"]).parent / "audit.log")
    bed.kubectl.apply(restricted_namespace(NAMESPACE), *folder_claim(NAMESPACE, "tiny", tiny_model()))
    install_chart(environment, NAMESPACE)
    return bed


@pytest.fixture(scope="session")
def pair(bed: Bed) -> str:
    """Two groups of two stages, serving."""
    bed.kubectl.apply(manifest(PAIR, replicas=2))
    bed.wait_serving(PAIR, 2)
    return PAIR
