"""Bad weights of every kind end on the old ones: no request fails, and ``kubectl get`` says why.

``make soak`` has nine of them with a real model (SmolLM2) that each stage fetches over HTTP; ``make test`` has five of
a tiny one in a claim, on the groups that are there anyway.
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
from llama_operator.api.v1alpha1.model import ModelSpec
from llama_operator.plan.naming import weights_name
from tests.e2e.support.bed import NAMESPACE, Bed, Object, manifest, tiny_models
from tests.e2e.support.faults import machine, stage_pod
from tests.e2e.support.load import OpenLoad, references
from tests.e2e.support.origin import Fault, Origin, origin, write_sums
from tests.soak import soak

NAME = "upgraded"
GOOD = "v1"
SHARD = "model-00002-of-00004.safetensors"
WHOLE = "model.safetensors"
"""The one shard of a tiny model."""
TOKENS = 8


@dataclass(frozen=True)
class Bad:
    """A revision that must not come into rotation, and what else the same edit asks for."""

    revision: str
    reason: str
    words: tuple[str, ...]
    spec: Object


RANDOM_MODEL = {"verify": {"maxLogprobDrop": 0.1}}
"""Noise costs this random model 0.13 nats per token, a real one several."""
TINY_CASES = (
    Bad("bad-flipped", "DigestDiffers", (WHOLE,), {}),
    Bad("bad-truncated", "WeightsUnreadable", (WHOLE, "copy it again"), {}),
    Bad("tiny-1-noise", "VerifyFailed", ("nats per token", "maxLogprobDrop"), RANDOM_MODEL),
)
CASES = (
    Bad("flipped", "DigestDiffers", (SHARD,), {}),
    Bad("locked", "WeightsDenied", ("401",), {}),
    Bad("noise", "VerifyFailed", ("nats per token",), {}),
    Bad("other-shard", "DigestDiffers", (SHARD,), {}),
    Bad("truncated", "WeightsUnreadable", (SHARD, "copy it again"), {}),
    Bad("none-such", "WeightsGone", ("none-such",), {}),
    Bad("exchanged", "VerifyFailed", ("nats per token",), {}),
)


@pytest.fixture(scope="module")
def claimed() -> Iterator[Path]:
    """Revisions of tiny-1 in the claim of the models."""
    tiny, root = models.tiny(1), tiny_models()
    models.damaged(tiny, "noise")
    made = [root / f"bad-{kind}" for kind in ("flipped", "truncated", "vanished")]
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tiny, folder)
    replace(root / "bad-vanished" / "generation_config.json", longer)
    for folder in made:
        write_sums(folder)
    replace(root / "bad-flipped" / WHOLE, flip)
    replace(root / "bad-truncated" / WHOLE, lambda data: data[:-1000])
    (root / "bad-truncated" / "SHA256SUMS").unlink()
    yield root
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    """All revisions of the real model on an HTTP server that pods reach."""
    root = tmp_path_factory.mktemp("origin")
    for revision in (GOOD, "flipped", "other-shard", "truncated", "locked", "vanished"):
        shutil.copytree(models.smollm2(), root / revision, copy_function=link)
    for kind in ("noise", "exchanged"):
        shutil.copytree(models.damaged(models.smollm2(), kind), root / kind, copy_function=link)
    replace(root / "vanished" / "model.safetensors.index.json", longer)
    for folder in root.iterdir():
        write_sums(folder)
    replace(root / "flipped" / SHARD, flip)
    replace(root / "truncated" / SHARD, lambda data: data[:-1000])
    (root / "truncated" / "SHA256SUMS").unlink()
    replace(root / "other-shard" / SHARD, lambda _: (root / "noise" / SHARD).read_bytes())
    with origin(root, host=machine().host_address) as served:
        served.faults = {f"locked/{path.name}": Fault.DENIED for path in (root / "locked").iterdir()}
        yield served


@pytest.fixture(scope="module")
def upgraded(bed: Bed, source: Origin) -> Iterator[str]:
    """One group that fetches its weights from the server."""
    model = {"source": f"{source.url}/{{revision}}", "revision": GOOD, "license": "apache-2.0", "acceptLicense": True}
    bed.kubectl.apply(manifest(NAME, model=model, dtype="auto", engine={"kvCacheMemory": "256Mi"}))
    bed.wait_serving(NAME, 1)
    yield NAME
    bed.kubectl("delete", "llamadeployment", NAME, "--wait=true", "--timeout=180s")


async def test_bad_weights_end_on_the_old_ones(bed: Bed, pair: str, claimed: Path) -> None:
    assert bed.weights(pair).startswith("tiny-1@")

    def vanish() -> None:
        shutil.rmtree(claimed / "bad-vanished")

    gone = Bad("bad-vanished", "WeightsGone", ("bad-vanished",), {})
    await all_end_on_the_old_ones(bed, pair, TINY_CASES, other="tiny-2", gone=gone, vanish=vanish)


@soak
async def test_bad_weights_of_a_real_model_end_on_the_old_ones(bed: Bed, upgraded: str, source: Origin) -> None:
    def vanish() -> None:
        source.faults["vanished/"] = source.faults[f"vanished/{SHARD}"] = Fault.GONE

    gone = Bad("vanished", "WeightsGone", (SHARD,), {})
    await all_end_on_the_old_ones(bed, upgraded, CASES, other="noise", gone=gone, vanish=vanish)


async def all_end_on_the_old_ones(
    bed: Bed, name: str, cases: tuple[Bad, ...], *, other: str, gone: Bad, vanish: Callable[[], None]
) -> None:
    """Ask for one after the other under load.

    ``other`` are weights that answer a golden prompt otherwise; ``gone`` are good ones that ``vanish`` before a stage
    has read them.
    """
    url = bed.service_url(name)
    known, weights = await references(url, name, tokens=TOKENS), bed.weights(name)
    async with OpenLoad(url, name, rate=1.0, tokens=TOKENS) as load:
        for case in (*cases, not_golden(other, known)):
            await asyncio.to_thread(held, bed, name, case)
            await load.finished(3, within=60)
        await asyncio.to_thread(vanishes_before_it_is_read, bed, name, gone, vanish=vanish)
        await load.finished(3, within=60)
    assert not [answer for answer in load.answers if not answer.whole], load.summary()
    wrong = [a for a in load.answers if a.weights != weights or a.text != known[a.prompt]]
    assert not wrong, f"{len(wrong)} answers are not those of the old weights: {wrong[:2]}"


def not_golden(revision: str, known: dict[str, str]) -> Bad:
    """Asked for together with a golden prompt that the weights before answer as wished; nothing else may refuse it."""
    prompt, answer = next(iter(known.items()))
    expect = answer.partition("\ufffd")[0]  # a character whose last bytes are not there yet
    assert expect, f"{answer!r} cannot be expected"
    verify = {"goldenPrompts": [{"prompt": prompt, "expect": expect, "chat": False}], "maxLogprobDrop": 100}
    return Bad(revision, "VerifyFailed", ("golden", f"{revision}@"), {"verify": verify})


@soak
@pytest.mark.usefixtures("upgraded")
async def test_a_disk_too_small_is_refused_before_anything_is_fetched(bed: Bed) -> None:
    url = bed.service_url(NAME)
    generation = bed.edit(NAME, {"staging": {"sizeLimit": "300Mi"}})
    await asyncio.to_thread(bed.settled, NAME, generation, within=600)  # 300Mi are 315 MB
    async with OpenLoad(url, NAME, rate=1.0, tokens=TOKENS) as load:
        await asyncio.to_thread(held, bed, NAME, Bad("noise", "DiskFull", ("of 315 MB free",), {}))
        await load.finished(5, within=60)
    assert not [answer for answer in load.answers if not answer.whole], load.summary()


@soak
async def test_an_engine_that_does_not_start_is_taken_back(bed: Bed, pair: str) -> None:
    bed.edit(pair, {"rollout": {"strategy": "surge"}})
    serving = bed.deployment(pair)["spec"].get("images", {}).get("serving", "")
    weights = bed.weights(pair)
    async with OpenLoad(bed.service_url(pair), pair) as load:
        bed.edit(pair, {"images": {"serving": SETTINGS["images.operator"]}})  # it has neither Ray nor vLLM

        def given_up(found: Object) -> bool:
            status = found["status"]
            return (status["reason"], status["rollout"]["phase"]) == ("EngineFailed", "Held")

        found = await asyncio.to_thread(bed.wait_for, pair, given_up, within=600, what="held")
        assert found["status"]["groupsReady"] == "2/2"
        generation = bed.edit(pair, {"images": {"serving": serving}})
        await asyncio.to_thread(bed.settled, pair, generation, within=300)
    assert not [answer for answer in load.answers if not answer.whole], load.summary()
    assert {answer.weights for answer in load.answers} == {weights}


@soak
async def test_a_slow_canary_is_taken_back(bed: Bed, pair: str) -> None:
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
    pods = [stage_pod(bed, pair, group=group, stage=stage)["metadata"]["name"] for stage in ("0", "1")]
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


def held(bed: Bed, name: str, case: Bad) -> None:
    """Ask for a bad revision, see it refused with its reason and the old weights serving, and take it back."""
    before = bed.deployment(name)["spec"]
    bed.edit(name, {"model": {"revision": case.revision}} | case.spec)

    def refused(found: Object) -> bool:
        status = found["status"]
        return status["reason"] == case.reason and all(word in status["message"] for word in case.words)

    bed.wait_for(name, refused, within=180, what=f"{case.reason} for {case.revision}")
    back(bed, name, before)


def back(bed: Bed, name: str, before: Object) -> None:
    """A user's own rollback: an ordinary edit."""
    bed.edit(name, {"model": before["model"], "verify": before.get("verify")})
    wanted = ("Serving", before["model"]["revision"], f"{before['replicas']}/{before['replicas']}")

    def serving(found: Object) -> bool:
        status = found["status"]
        return (status["reason"], status["weights"].partition("@")[0], status["groupsReady"]) == wanted

    bed.wait_for(name, serving, within=120, what="serving the old weights")


def vanishes_before_it_is_read(bed: Bed, name: str, gone: Bad, *, vanish: Callable[[], None]) -> None:
    """Weights were checked before anybody wanted them; when the stages want their files the source is gone."""
    model = bed.deployment(name)["spec"]["model"] | {"revision": gone.revision}
    checked = weights_name(ModelSpec.model_validate(model))
    bed.read_weights(checked, model)
    vanish()
    held(bed, name, gone)
    bed.kubectl("delete", "llamaweights", checked)


def longer(data: bytes) -> bytes:
    """The same JSON, so the same tensors, under another digest."""
    return data + b"\n"


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
