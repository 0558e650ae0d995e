"""Bad weights of every kind end on the old ones: no request fails, and ``kubectl get`` says why.

A real model (SmolLM2) is fetched over HTTP by each stage: a random one would answer as badly with any tensors.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples import models
from examples.cluster import SETTINGS
from llama_operator.api.model import ModelSpec
from llama_operator.plan.naming import weights_name
from tests.e2e.bed import NAMESPACE, SOAK, Bed, Object, manifest, soak
from tests.e2e.load import OpenLoad, references
from tests.e2e.origin import Fault, Origin, origin, write_sums
from tests.e2e.test_2_faults import machine, stage_pod

NAME = "upgraded"
GOOD = "v1"
SHARD = "model-00002-of-00004.safetensors"
TOKENS = 8


@dataclass(frozen=True)
class Bad:
    """A revision that must not come into rotation, and what else the same edit asks for."""

    revision: str
    reason: str
    words: tuple[str, ...]
    spec: Object


CASES = (
    Bad("flipped", "DigestDiffers", (SHARD,), {}),
    Bad("locked", "WeightsDenied", ("401",), {}),
    Bad("noise", "VerifyFailed", ("log-probability",), {}),
    Bad("twin", "VerifyFailed", ("golden",), {"verify": {"golden": [
        {"prompt": "What is the capital of France?", "expect": "Berlin"}]}}),
)  # fmt: skip
MORE_CASES = (
    Bad("other-shard", "DigestDiffers", (SHARD,), {}),
    Bad("truncated", "WeightsUnreadable", (SHARD, "copy it again"), {}),
    Bad("none-such", "WeightsGone", ("none-such",), {}),
    Bad("exchanged", "VerifyFailed", ("log-probability",), {}),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    """All revisions on an HTTP server that pods reach."""
    root = tmp_path_factory.mktemp("origin")
    for revision in (GOOD, "flipped", "other-shard", "truncated", "locked", "vanished", "twin"):
        shutil.copytree(models.smollm2(), root / revision, copy_function=link)
    for kind in ("noise", "exchanged"):
        shutil.copytree(models.smollm2_damaged(kind), root / kind, copy_function=link)
    for spaces, revision in enumerate(("twin", "vanished"), 1):  # the same tensors under another digest
        replace(root / revision / "model.safetensors.index.json", lambda data, spaces=spaces: data + b"\n" * spaces)
    for folder in root.iterdir():
        write_sums(folder)
    replace(root / "flipped" / SHARD, flip)
    replace(root / "truncated" / SHARD, lambda data: data[:-1000])
    (root / "truncated" / "SHA256SUMS").unlink()
    replace(root / "other-shard" / SHARD, lambda _: (root / "noise" / SHARD).read_bytes())
    with origin(root, host=machine().host_address) as served:
        served.faults = {f"locked/{name}": Fault.DENIED for name in os.listdir(root / "locked")}
        yield served


@pytest.fixture(scope="module")
def upgraded(bed: Bed, source: Origin) -> Iterator[str]:
    """One group that fetches its weights from the server."""
    model = {"source": f"{source.url}/{{revision}}", "revision": GOOD, "license": "apache-2.0", "acceptLicense": True}
    bed.kubectl.apply(manifest(NAME, model=model, dtype="auto", engine={"kvCacheMemory": "256Mi"}))
    bed.wait_serving(NAME, 1)
    yield NAME
    bed.kubectl("delete", "llamadeployment", NAME, "--wait=true", "--timeout=180s")


async def test_bad_weights_end_on_the_old_ones(bed: Bed, upgraded: str, source: Origin):
    url = bed.service_url(NAME)
    known, weights = await references(url, NAME, tokens=TOKENS), bed.weights(NAME)
    async with OpenLoad(url, NAME, rate=1.0, tokens=TOKENS) as load:
        for case in CASES + (MORE_CASES if SOAK else ()):
            await asyncio.to_thread(held, bed, case)
            await load.finished(3, within=60)
        await asyncio.to_thread(vanishes_while_it_is_fetched, bed, source)
        await load.finished(3, within=60)
    assert not [answer for answer in load.answers if not answer.whole], load.summary()
    wrong = [a for a in load.answers if a.weights != weights or a.text != known[a.prompt]]
    assert not wrong, f"{len(wrong)} answers are not those of the old weights: {wrong[:2]}"


@soak
async def test_a_disk_too_small_is_refused_before_anything_is_fetched(bed: Bed, upgraded: str):
    url = bed.service_url(NAME)
    generation = bed.edit(NAME, {"staging": {"sizeLimit": "300Mi"}})
    await asyncio.to_thread(bed.settled, NAME, generation, within=600)  # 300Mi are 315 MB
    async with OpenLoad(url, NAME, rate=1.0, tokens=TOKENS) as load:
        await asyncio.to_thread(held, bed, Bad("noise", "DiskFull", ("of 315 MB free",), {}))
        await load.finished(5, within=60)
    assert not [answer for answer in load.answers if not answer.whole], load.summary()


@soak
async def test_an_engine_that_does_not_start_is_taken_back(bed: Bed, pair: str):
    bed.edit(pair, {"rollout": {"strategy": "surge"}})
    serving = bed.deployment(pair)["spec"].get("images", {}).get("serving", "")
    weights = bed.weights(pair)
    async with OpenLoad(bed.service_url(pair), pair) as load:
        bed.edit(pair, {"images": {"serving": SETTINGS["images.operator"]}})  # it has neither Ray nor vLLM

        def given_up(found: Object) -> bool:
            status = found["status"]
            return status["reason"] == "EngineFailed" and status["rollout"]["phase"] == "Held"

        found = await asyncio.to_thread(bed.wait_for, pair, given_up, within=600, what="held")
        assert found["status"]["groupsReady"] == "2/2"
        generation = bed.edit(pair, {"images": {"serving": serving}})
        await asyncio.to_thread(bed.settled, pair, generation, within=300)
    assert not [answer for answer in load.answers if not answer.whole], load.summary()
    assert {answer.weights for answer in load.answers} == {weights}


@soak
async def test_a_slow_canary_is_taken_back(bed: Bed, pair: str):
    canary = {"groups": 1, "seconds": 60, "maxFirstByteRatio": 3}
    before = bed.deployment(pair)["spec"]["model"]["revision"]
    other = {"tiny-1": "tiny-2", "tiny-2": "tiny-1"}[before]
    async with OpenLoad(bed.service_url(pair), pair) as load:
        bed.edit(pair, {"model": {"revision": other}, "rollout": {"strategy": "auto", "canary": canary}})
        await asyncio.to_thread(
            bed.wait_for, pair, lambda d: d["status"]["reason"] == "Canary", within=180, what="watching the canary"
        )
        with slowed(bed, pair, "0"):
            found = await asyncio.to_thread(
                bed.wait_for, pair, lambda d: d["status"]["reason"] == "CanaryFailed", within=180, what="CanaryFailed"
            )
        assert "first byte" in found["status"]["message"]
        await asyncio.to_thread(
            bed.wait_for, pair, lambda d: d["status"]["weights"].startswith(f"{before}@"), within=180, what="back"
        )
        generation = bed.edit(pair, {"model": {"revision": before}, "rollout": {"canary": None}})
        await asyncio.to_thread(bed.settled, pair, generation, within=180)
    assert not [answer for answer in load.answers if not answer.whole], load.summary()


@contextmanager
def slowed(bed: Bed, pair: str, group: str) -> Iterator[None]:
    """The pods of a group get a fifth of a core."""
    pods = [stage_pod(bed, pair, group, stage)["metadata"]["name"] for stage in ("0", "1")]
    processes = [process.pid for pod in pods for process in machine().pod_processes(NAMESPACE, pod)]
    lines = [line.split(":") for pid in processes for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    folders = {Path("/sys/fs/cgroup/cpu") / path.lstrip("/") for _, kinds, path in lines if "cpu" in kinds.split(",")}
    quotas = {folder / "cpu.cfs_quota_us": (folder / "cpu.cfs_quota_us").read_text() for folder in folders}
    for quota in quotas:
        quota.write_text("20000")
    try:
        yield
    finally:
        for quota, was in quotas.items():
            quota.write_text(was)


def held(bed: Bed, case: Bad) -> None:
    """Ask for a bad revision, see it refused with its reason and the old weights serving, and take it back."""
    before = bed.deployment(NAME)["spec"]
    bed.edit(NAME, {"model": {"revision": case.revision}} | case.spec)

    def refused(found: Object) -> bool:
        status = found["status"]
        return status["reason"] == case.reason and all(word in status["message"] for word in case.words)

    bed.wait_for(NAME, refused, within=180, what=f"{case.reason} for {case.revision}")
    back(bed, before)


def back(bed: Bed, before: Object) -> None:
    """A user's own rollback: an ordinary edit."""
    bed.edit(NAME, {"model": before["model"], "verify": before.get("verify")})

    def serving(found: Object) -> bool:
        status = found["status"]
        weights = status["weights"].partition("@")[0]
        return (status["reason"], weights, status["groupsReady"]) == ("Serving", GOOD, "1/1")

    bed.wait_for(NAME, serving, within=120, what="serving the old weights")


def vanishes_while_it_is_fetched(bed: Bed, source: Origin) -> None:
    """Weights were checked before anybody wanted them; when the stages want their files the source is gone."""
    before = bed.deployment(NAME)["spec"]
    model = before["model"] | {"revision": "vanished"}
    name = weights_name(ModelSpec.model_validate(model))
    bed.read_weights(name, model)
    source.faults["vanished/"] = source.faults[f"vanished/{SHARD}"] = Fault.GONE
    held(bed, Bad("vanished", "WeightsGone", (SHARD,), {}))
    bed.kubectl("delete", "llamaweights", name)


def replace(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Another content under the same name; links to the old content are left alone."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(change(data))


def link(source: str, target: str) -> None:
    """A link where the file system allows one: the models are large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def flip(data: bytes) -> bytes:
    """One bit differs."""
    return data[:-1] + bytes([data[-1] ^ 1])
