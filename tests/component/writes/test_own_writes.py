"""A pass that changes nothing writes nothing, also while the watches lag behind what this process wrote."""

import itertools
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api import KIND
from llama_operator.own_writes import LONGEST, UNSEEN, OwnWrites
from llama_operator.reconcile import Bodies, Edges, reconcile
from llama_operator.reconcile_weights import WeightsBodies, reconcile_weights
from tests.fakes.cluster import START, FakeCluster
from tests.fakes.weights import weights_body
from tests.fakes.world import KEY, SETTINGS, World

ABOUT = ("Pod", "p", "rotation")


def shown(version: str | None) -> list[dict[str, Any]]:
    return [] if version is None else [{"kind": "Pod", "metadata": {"name": "p", "resourceVersion": version}}]


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=20))
def test_a_write_is_left_out_only_until_it_is_shown(steps: list[tuple[int, bool]]) -> None:
    own, written = OwnWrites(), 0
    for version, write in steps:
        own.begin(shown(str(version)), START)
        assert not (own.repeats(ABOUT, "open") and version >= written)
        assert not own.repeats(ABOUT, "closed")
        if write:
            written = version + 5
            own.keep(ABOUT, "open", str(written))
            assert own.repeats(ABOUT, "open")


@pytest.mark.parametrize(
    ("before", "version", "now", "passed", "repeats"),
    [
        ("5", "7", "5", 0, True),
        ("5", "7", "6", 60, True),
        ("5", "7", "7", 0, False),
        ("5", "7", "8", 0, False),
        ("5", "7", "5", LONGEST.total_seconds() + 1, False),
        ("5", "7", None, 0, False),
        (None, "7", None, 1, True),
        (None, "7", None, UNSEEN.total_seconds() + 1, False),
        (None, "7", "7", 1, False),
        ("5", "", "5", 0, False),
        ("5", "x", "5", 0, False),
        ("", "7", "", 0, True),
    ],
)
def test_what_ends_it(before: str | None, version: str, now: str | None, *, passed: float, repeats: bool) -> None:
    own = OwnWrites()
    own.begin(shown(before), START)
    own.keep(ABOUT, "open", version)
    own.begin(shown(now), START + timedelta(seconds=passed))
    assert own.repeats(ABOUT, "open") is repeats


class Lagging:
    """A world whose watches can be held."""

    def __init__(self) -> None:
        self.world = World()
        self.world.cluster.versions = itertools.count(100)
        self.edges = Edges(self.world.cluster, self.world.nodes, self.world.nodes)

    async def one_pass(self, bodies: Bodies) -> list[str]:
        """A pass over these bodies; what it wrote."""
        before = len(self.world.cluster.writes)
        await reconcile(bodies, edges=self.edges, settings=SETTINGS, now=self.world.cluster.now)
        return self.world.cluster.writes[before:]

    @property
    def bodies(self) -> Bodies:
        return self.world.cluster.bodies(KEY)


async def test_passes_behind_the_watches_write_once_at_every_step_of_a_rollout() -> None:
    """Each pass is repeated over the same bodies, as while a watch is silent, at every second of a rollout.

    Supervisors are asked and not watched, so the second and the third pass may react to what the first told them. A
    delete is sent again: it names the uid, and answers with no version.
    """
    found = Lagging()
    written = 0
    for second in range(60):
        if second == 30:
            found.world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))
        bodies = found.bodies
        for _ in range(3):
            written += len(await found.one_pass(bodies))
        told = len(found.world.cluster.events)
        again = [*await found.one_pass(bodies), *await found.one_pass(bodies)]
        assert [one for one in again if not one.startswith("delete ")] == [], f"at second {second}"
        assert len(found.world.cluster.events) == told
        found.world.nodes.tick()
    assert written > 20
    assert found.world.status.groups_ready == "2/2"


async def test_the_status_that_was_written_is_the_status_until_the_watches_show_another() -> None:
    found = Lagging()
    bodies = found.bodies
    await found.one_pass(bodies)
    first = found.world.status
    found.world.cluster.objects[KIND, KEY.name]["metadata"]["resourceVersion"] = "9999"
    found.world.cluster.objects[KIND, KEY.name]["status"] = {}  # somebody else, later
    assert "status chat" in await found.one_pass(found.bodies)
    assert found.world.status.reason == first.reason


async def test_weights_behind_the_watches_write_once() -> None:
    cluster = FakeCluster()
    cluster.versions = itertools.count(100)
    body = weights_body(resourceVersion="1")
    cluster.objects["LlamaWeights", body["metadata"]["name"]] = body
    bodies, own = WeightsBodies(weights_body(resourceVersion="1"), []), dict[str, OwnWrites]()
    for _ in range(4):
        await reconcile_weights(bodies, cluster=cluster, settings=SETTINGS, now=START, own_writes=own)
    assert len(cluster.writes) == len(set(cluster.writes)) > 2
