"""One test bed and one pair of groups for all end-to-end tests: a cell's start is what costs time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.support.bed import PAIR, Bed, manifest, running_bed
from tests.e2e.support.parking import others_parked

#: Files in the order in which they run. Later ones go on with the groups that the first one starts; while `test_idle`
#: waits for five minutes without a change of the pair, those before it work on deployments of their own. The storm
#: comes behind the audit: it gives the operator rights in another namespace for its own time.
ORDER = (
    "test_first_start",
    "test_walls",
    "test_chat",
    "test_clients",
    "test_structured_answers",
    "test_adapters",
    "test_bad_weights",
    "test_rollout",
    "test_edits",
    "test_faults",
    "test_gangs",
    "test_gpus",
    "test_gpu_faults",
    "test_dra",
    "test_waits",
    "test_scale_to_zero",
    "test_idle",
    "test_autoscale",
    "test_promise",
    "test_releases",
    "test_audit",
    "test_storm",
    "test_uninstall",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the scenarios in order, and mark them: they all need the whole bed, and minutes."""
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    mine.sort(key=lambda item: ORDER.index(item.path.stem))
    items[:] = [item for item in items if item not in mine] + mine
    for item in mine:
        item.add_marker(pytest.mark.e2e)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="session", autouse=True)
def began() -> datetime:
    """When this run began."""
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def whole_run(request: pytest.FixtureRequest) -> bool:
    """Whether a test of every file runs, so that what was never done was needless."""
    return {item.path.stem for item in request.session.items} >= set(ORDER)


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """The test bed with our images and the chart installed; it stays up for the next run.

    Deployments of others, such as that of ``make demo``, are scaled to zero meanwhile and brought back at the end.
    """
    bed = running_bed()
    with others_parked(bed.kubectl):
        yield bed


@pytest.fixture(scope="session")
def pair(bed: Bed) -> str:
    """Two groups of two stages, serving; test_first_start.py has made them."""
    bed.kubectl.apply(manifest(PAIR, replicas=2))
    bed.wait_serving(PAIR, 2)
    return PAIR
