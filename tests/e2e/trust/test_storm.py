"""Everything hostile at once for ten minutes: users with keys get every answer, and no process ends or grows."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from llama_serving.config import names
from tests.e2e.support.bed import NAMESPACE, Bed, Object, lives, manifest
from tests.e2e.support.faults import machine, until
from tests.e2e.support.load import OpenLoad, check_answers, references
from tests.e2e.support.storm import FOLDERS, Memory, attacked, hostile_namespace
from tests.soak import soak

pytestmark = [soak, pytest.mark.timeout(2700)]

NAME: Final = "stormed"
STORM_S: Final = 600.0
RATE: Final = 0.5  # requests of users a second: groups, gateways and hostile clients share two cores
SCALE: Final = 0.1  # of the hostile clients of benchmarks/storm: 260 at once
FLOOD: Final = 10.0  # requests of the flooder a second: many times what the groups answer
#: Seconds of the storm at which the API server answers nothing for a while: shorter than what the bed's nodes may be
#: silent for. After a longer one Kubernetes itself takes all pods of all nodes out of every Service for a moment.
SILENCES: Final = (120.0, 210.0, 300.0, 390.0, 480.0)
SILENCE_S: Final = 8.0
GROWTH: Final = 24.0  # MiB that a process may have grown by between the storm's second minute and its end
OPERATOR: Final = "app.kubernetes.io/name=llama-operator,app.kubernetes.io/component!=gateway"


def access_key(name: str, **limits: str) -> tuple[Object, str]:
    """A Secret with a key for the deployment, and the key."""
    key = secrets.token_hex(32)
    labels = {names.LABEL_ACCESS_KEY: "true", names.LABEL_DEPLOYMENT: NAME}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": key, **limits}}, key


@pytest.fixture
def keys(bed: Bed) -> Iterator[dict[str, str]]:
    """A deployment of two groups that asks for keys; those of a user, of a flooder and of hostile clients."""
    bed.kubectl("delete", "llamadeployment", "--all", "--wait=true", "--timeout=300s")
    made = {name: access_key(name, **limits) for name, limits in (
        ("user", {}), ("flooder", {}), ("hostile", {"concurrentRequests": "8"}),
    )}  # fmt: skip
    bed.kubectl.apply(*(secret for secret, _ in made.values()))
    bed.kubectl.apply(manifest(NAME, replicas=2, access={"mode": "keys"}))
    bed.wait_serving(NAME, 2)
    yield {name: key for name, (_, key) in made.items()}
    bed.kubectl("delete", "llamadeployment", NAME, "--wait=true", "--timeout=120s")
    bed.kubectl("delete", "secret", *made)


async def test_a_storm_of_everything(bed: Bed, keys: dict[str, str], tmp_path: Path) -> None:
    url = bed.service_url(NAME)
    address = f"{url.removeprefix('http://')}:80"
    known = {bed.weights(NAME): await references(url, NAME, key=keys["user"])}
    with hostile_namespace(bed, tmp_path / "models") as away:
        before = lives(observed(bed))
        with attacked(address, scale=SCALE, key=keys["hostile"], log=tmp_path / "attacks.log"):
            async with (
                OpenLoad(url, NAME, rate=RATE, key=keys["user"]) as users,
                OpenLoad(url, NAME, rate=FLOOD, seed=2, key=keys["flooder"]) as flooder,
            ):
                early = await storm(bed)
        late = Memory.of(bed_and_gateways(bed))
        print(f"users: {users.summary()}\nflooder: {flooder.summary()}\nMiB at 120 s: {early}\nMiB at the end: {late}")
        assert len(users.answers) >= RATE * STORM_S / 2
        check_answers(users.answers, known)
        assert lives(observed(bed)) == before, "no pod is new and no container started again"
        assert max(late.growth(early).values()) <= GROWTH, late.growth(early)
        until("each hostile model has a verdict", lambda: undecided(away.json("get", "llamaweights")["items"]), 120)


async def storm(bed: Bed) -> Memory:
    """Wait until the storm is over; the memory of its second minute."""
    begun, early = time.monotonic(), None
    for moment in SILENCES:
        await asyncio.sleep(max(begun + moment - time.monotonic(), 0))
        early = early or Memory.of(bed_and_gateways(bed))
        with machine().silent_api_server():
            await asyncio.sleep(SILENCE_S)
    await asyncio.sleep(max(begun + STORM_S - time.monotonic(), 0))
    assert early is not None
    return early


def bed_and_gateways(bed: Bed) -> list[Object]:
    """Pods whose processes hostile clients and tenants could fill: operators and gateways."""
    operators: list[Object] = bed.kubectl.json("get", "pods", "-l", OPERATOR)["items"]
    return [*operators, *bed.pods(NAME, names.COMPONENT_GATEWAY)]


def observed(bed: Bed) -> list[Object]:
    """All pods of the first namespace that serve."""
    return [*bed_and_gateways(bed), *bed.pods(NAME)]


def undecided(weights: list[Object]) -> str:
    """Weights that have no verdict yet. One bomb lies in a README, which no engine reads: it may be a good one."""
    assert len(weights) == len(FOLDERS)
    rows = {one["metadata"]["name"]: one.get("status", {}) for one in weights}
    return ", ".join(
        f"{name}: {status.get('reason')} {status.get('message')}"
        for name, status in rows.items()
        if status.get("reason") in (None, "", "ResolvingWeights")
    )
