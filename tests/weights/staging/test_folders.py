"""Weights that lie on a mounted claim, and volumes that several pods share."""

import os
from pathlib import Path

import pytest

from tests.fakes.staging import (
    MemorySource,
    Pod,
    checkpoint,
    flipped,
    read_safetensors,
    until,
    until_outcome,
)

MODEL = checkpoint(layers=4, shards=2)
FIRST, SECOND = MODEL.places


def mounted(tmp_path: Path, *, stage: int = 0) -> tuple[Pod, Path]:
    """A pod with the model on a claim, and the folder."""
    folder = MODEL.write(tmp_path / "models" / "llama")
    return Pod(tmp_path, MemorySource({}), stage=stage), folder


@pytest.mark.parametrize("full", [True, False], ids=["full", "listing"])
async def test_a_claim_is_verified_in_place(tmp_path: Path, full: bool) -> None:
    pod, folder = mounted(tmp_path)
    item = MODEL.item(full=full, source="pvc://models/llama", path=str(folder))
    pod.configure(item)
    staged = await until_outcome(pod.stager(), item, "ready")
    assert staged.bytes_done == staged.bytes_total > 0
    assert list(pod.mount.iterdir()) == []
    assert pod.source.steps == 0


async def test_a_pod_without_a_volume_of_weights_verifies_a_claim(tmp_path: Path) -> None:
    pod, folder = mounted(tmp_path)
    pod.mount.rmdir()
    item = MODEL.item(source="pvc://models/llama", path=str(folder))
    pod.configure(item)
    await until_outcome(pod.stager(), item, "ready")


@pytest.mark.parametrize(("stage", "outcome"), [(0, "refused"), (1, "ready")])
async def test_each_stage_verifies_its_own_tensors(tmp_path: Path, stage: int, outcome: str) -> None:
    pod, folder = mounted(tmp_path, stage=stage)
    begin, _ = MODEL.places[FIRST]["model.layers.0.self_attn.q_proj.weight"]
    (folder / FIRST).write_bytes(flipped(MODEL.files[FIRST], begin))
    item = MODEL.item(source="pvc://models/llama", path=str(folder))
    pod.configure(item)
    staged = await until_outcome(pod.stager(), item, outcome)
    assert staged.reason == ("DigestDiffers" if stage == 0 else "")


async def test_a_verified_claim_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    pod, folder = mounted(tmp_path)
    item = MODEL.item(source="pvc://models/llama", path=str(folder))
    pod.desire(item)
    stager = pod.stager()
    read = (await until_outcome(stager, item, "ready")).bytes_read
    other = checkpoint(seed=2).item(source="pvc://models/other", path=str(tmp_path / "nowhere"))
    pod.desire(other, item)
    await until_outcome(stager, other, "refused")
    for _ in range(5):
        pod.time.now += 20
        await stager.step()
    assert stager.state is not None
    assert {staged.bytes_read for staged in stager.state.weights if staged.digest == item.weights.digest} == {read}

    data = MODEL.files[FIRST]
    (folder / FIRST).write_bytes(flipped(data, len(data) // 2))
    staged = await until_outcome(stager, item, "refused", time_passes=pod.time)
    assert staged.reason == "DigestDiffers"
    (folder / FIRST).write_bytes(data)
    await until_outcome(stager, item, "ready", time_passes=pod.time)


async def test_wrong_files_on_a_claim_are_not_hashed_again_and_again(tmp_path: Path) -> None:
    pod, folder = mounted(tmp_path)
    (folder / FIRST).write_bytes(flipped(MODEL.files[FIRST], len(MODEL.files[FIRST]) - 1))
    item = MODEL.item(full=False, source="pvc://models/llama", path=str(folder))
    pod.configure(item)
    stager = pod.stager()
    read = (await until_outcome(stager, item, "refused")).bytes_read
    for _ in range(50):
        pod.time.now += 60
        await stager.step()
    assert stager.state is not None
    assert stager.state.weights[0].bytes_read == read


def two_pods(tmp_path: Path) -> tuple[Pod, Pod]:
    """The same stage of two groups on one claim."""
    shared = tmp_path / "shared"
    return (
        Pod(tmp_path / "a", MemorySource(MODEL.files, piece=2000, hold=20), volume=shared, holder="pod-a"),
        Pod(tmp_path / "b", MemorySource(MODEL.files, piece=2000), volume=shared, holder="pod-b"),
    )


async def test_one_pod_stages_and_the_other_waits_and_verifies(tmp_path: Path) -> None:
    first, second = two_pods(tmp_path)
    item = MODEL.item()
    first.configure(item)
    second.configure(item)
    bringing, waiting = first.stager(), second.stager()
    await until(bringing, lambda seen: any(staged.bytes_done for staged in seen.values()))
    staged = await until_outcome(waiting, item, "waiting")
    await until(waiting, lambda seen: seen[item.weights.digest].reason == "StagedByOther")
    assert "pod pod-a stages these weights" in next(iter(waiting.state.weights)).message if waiting.state else False
    first.source.go.set()
    await until_outcome(bringing, item, "ready")
    staged = await until_outcome(waiting, item, "ready", time_passes=second.time)
    assert second.source.steps == 0
    assert staged.bytes_read >= staged.bytes_total
    assert read_safetensors(second.target(item)).items() <= MODEL.tensors.items()


async def test_the_work_of_a_dead_pod_is_taken_over_and_not_sooner(tmp_path: Path) -> None:
    first, second = two_pods(tmp_path)
    item = MODEL.item()
    first.configure(item)
    second.configure(item)
    dying = first.stager()
    await until(dying, lambda seen: any(staged.bytes_done for staged in seen.values()))
    lock = first.target(item).with_name("stage-0-of-2.lock")
    await dying.close()
    lock.write_text("pod-a")  # a killed pod leaves it
    waiting = second.stager()
    for _ in range(20):
        second.time.now += 10
        await waiting.step()
    assert second.source.steps == 0, "taken over from a pod that may be alive"
    os.utime(lock, (lock.stat().st_mtime - 61,) * 2)
    await until_outcome(waiting, item, "ready", time_passes=second.time)
    assert read_safetensors(second.target(item)).items() <= MODEL.tensors.items()
    assert not lock.exists()


async def test_a_pod_whose_work_was_taken_over_stops_at_its_next_beat(tmp_path: Path) -> None:
    first, _ = two_pods(tmp_path)
    item = MODEL.item()
    first.configure(item)
    stager = first.stager()
    await until(stager, lambda seen: any(staged.bytes_done for staged in seen.values()))
    lock = first.target(item).with_name("stage-0-of-2.lock")
    lock.write_text("pod-b")
    first.time.now += 20
    await until(stager, lambda seen: seen[item.weights.digest].reason == "StagedByOther")
    assert lock.read_text() == "pod-b"
