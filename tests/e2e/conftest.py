"""One test bed and one pair of groups for all end-to-end tests: a cell's start is what costs time."""

import pytest

from tests.e2e.bed import PAIR, Bed, manifest, running_bed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They all need the whole bed, and minutes."""
    for item in items:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="session")
def bed() -> Bed:
    """The test bed with our images and the chart installed; it stays up for the next run."""
    return running_bed()


@pytest.fixture(scope="session")
def pair(bed: Bed) -> str:
    """Two groups of two stages, serving; test_0_start.py has made them."""
    bed.kubectl.apply(manifest(PAIR, replicas=2))
    bed.wait_serving(PAIR, 2)
    return PAIR
