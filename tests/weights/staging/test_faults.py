"""A fault at every step of a source: what heals is waited for, what does not is refused with a sentence."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llama_serving.weights.source.interface import Broken, Busy, Denied, Gone
from tests.fakes.staging import INDEX, MemorySource, Pod, checkpoint, flipped, read_safetensors, sha, until_outcome

MODEL = checkpoint(layers=4, shards=2)
SHARD = "model-00001-of-00002.safetensors"
QUERY = "model.layers.0.self_attn.q_proj.weight"
PIECE = 4000

Before = Callable[[int, bytes], bytes]


def pod(root: Path, before: Before = lambda _, data: data, *, ranged: bool = True, stage: int = 0) -> Pod:
    return Pod(root, MemorySource(MODEL.files, ranged=ranged, piece=PIECE, before=before), stage=stage)


def once(step: int, error: Exception) -> Before:
    """Raises at one step."""

    def before(number: int, data: bytes) -> bytes:
        if number == step:
            raise error
        return data

    return before


async def steps_of_a_good_run(root: Path, *, full: bool) -> tuple[int, int]:
    """How many steps it has, and how many bytes it reads."""
    good = pod(root)
    good.configure(MODEL.item(full=full))
    staged = await until_outcome(good.stager(), MODEL.item(full=full), "ready")
    assert staged.bytes_read == good.source.read_bytes
    return good.source.steps, good.source.read_bytes


@pytest.mark.parametrize("full", [True, False], ids=["full", "listing"])
@pytest.mark.parametrize("error", [Broken("cut"), Busy("429"), Busy("429", after=7.0)], ids=["cut", "busy", "after"])
async def test_what_heals_is_waited_for_and_nothing_is_read_twice(
    tmp_path: Path, error: Broken | Busy, full: bool
) -> None:
    steps, good_bytes = await steps_of_a_good_run(tmp_path / "good", full=full)
    item = MODEL.item(full=full)
    for step in range(1, steps + 1):
        faulty = pod(tmp_path / str(step), once(step, error))
        faulty.configure(item)
        await until_outcome(faulty.stager(), item, "ready")
        assert read_safetensors(faulty.target(item)).items() <= MODEL.tensors.items()
        assert faulty.source.read_bytes == good_bytes
        assert faulty.time.slept == [7.0 if isinstance(error, Busy) and error.after else 1.0]


@pytest.mark.parametrize("full", [True, False], ids=["full", "listing"])
@pytest.mark.parametrize(
    ("error", "reason"), [(Denied("401: name a token"), "WeightsDenied"), (Gone("404: no bucket"), "WeightsGone")]
)
async def test_what_does_not_heal_is_refused_and_looked_at_again_later(
    tmp_path: Path, *, error: Exception, reason: str, full: bool
) -> None:
    steps, _ = await steps_of_a_good_run(tmp_path / "good", full=full)
    item = MODEL.item(full=full)
    for step in range(1, steps + 1):
        faulty = pod(tmp_path / str(step), once(step, error))
        faulty.configure(item)
        stager = faulty.stager()
        staged = await until_outcome(stager, item, "refused")
        assert (staged.reason, staged.message) == (reason, str(error))
        assert not faulty.target(item).exists()
        mended = await until_outcome(stager, item, "ready", time_passes=faulty.time)
        assert mended.reason == ""


@pytest.mark.parametrize("full", [True, False], ids=["full", "listing"])
async def test_a_bit_that_flips_on_the_wire_heals(tmp_path: Path, full: bool) -> None:
    steps, _ = await steps_of_a_good_run(tmp_path / "good", full=full)
    item = MODEL.item(full=full)
    for step in range(1, steps + 1):
        for at in (0, PIECE // 2):

            def before(number: int, data: bytes, *, step: int = step, at: int = at) -> bytes:
                return flipped(data, at) if number == step and len(data) > at else data

            faulty = pod(tmp_path / f"{step}-{at}", before)
            faulty.configure(item)
            stager = faulty.stager()
            if full:
                await until_outcome(stager, item, "ready")
            else:  # a header has no digest of its own then: a new attempt may be needed
                await until_outcome(stager, item, "ready", time_passes=faulty.time)
            assert read_safetensors(faulty.target(item)).items() <= MODEL.tensors.items()


async def test_other_bytes_at_the_source_are_refused_with_file_tensor_and_digests(tmp_path: Path) -> None:
    begin, end = MODEL.places[SHARD][QUERY]
    bad = flipped(MODEL.files[SHARD], begin + 1234)
    item = MODEL.item()
    faulty = Pod(tmp_path, MemorySource({**MODEL.files, SHARD: bad}))
    faulty.configure(item)
    stager = faulty.stager()
    staged = await until_outcome(stager, item, "refused")
    assert staged.reason == "DigestDiffers"
    for word in (SHARD, QUERY, sha(bad[begin:end]), sha(MODEL.tensors[QUERY])):
        assert word in staged.message
    assert not faulty.target(item).exists()
    # Mended at the source: only what was wrong is read again.
    faulty.source.files = MODEL.files
    before = faulty.source.read_bytes
    await until_outcome(stager, item, "ready", time_passes=faulty.time)
    assert faulty.source.read_bytes - before < 30_000


async def test_a_bad_tensor_is_the_concern_of_the_stage_that_needs_it(tmp_path: Path) -> None:
    bad = flipped(MODEL.files[SHARD], MODEL.places[SHARD][QUERY][0])
    item = MODEL.item()
    other = Pod(tmp_path, MemorySource({**MODEL.files, SHARD: bad}), stage=1)
    other.configure(item)
    await until_outcome(other.stager(), item, "ready")


@pytest.mark.parametrize("full", [True, False], ids=["full", "listing"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", SHARD])
async def test_any_other_byte_is_refused(tmp_path: Path, name: str, full: bool) -> None:
    item = MODEL.item(full=full)
    size = len(MODEL.files[name])
    for number, at in enumerate((0, size // 3, size - 1)):
        faulty = Pod(
            tmp_path / str(number), MemorySource({**MODEL.files, name: flipped(MODEL.files[name], at)}), stages=1
        )
        faulty.configure(item)
        staged = await until_outcome(faulty.stager(), item, "refused")
        assert staged.reason == "DigestDiffers"
        assert name in staged.message
        assert not faulty.target(item).exists()


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (lambda data: data[:-5], "DigestDiffers", "is cut off: it has"),
        (lambda data: data + b"more", "DigestDiffers", "has grown: it has"),
        (None, "WeightsGone", "is in the manifest and not at the source"),
    ],
    ids=["truncated", "grown", "absent"],
)
@pytest.mark.parametrize("name", [SHARD, "tokenizer.json"])
async def test_files_that_are_not_whole_are_refused(
    tmp_path: Path, *, name: str, change: Callable[[bytes], bytes] | None, reason: str, words: str
) -> None:
    files = dict(MODEL.files)
    if change:
        files[name] = change(files[name])
    else:
        del files[name]
    faulty = Pod(tmp_path, MemorySource(files))
    faulty.configure(MODEL.item())
    staged = await until_outcome(faulty.stager(), MODEL.item(), "refused")
    assert staged.reason == reason
    assert name in staged.message
    assert words in staged.message


async def test_a_manifest_of_other_weights_is_refused(tmp_path: Path) -> None:
    item = MODEL.item()
    other = item.model_copy(update={"manifest": checkpoint(seed=2).manifest()})
    faulty = pod(tmp_path)
    faulty.configure(other)
    staged = await until_outcome(faulty.stager(), item, "refused")
    assert staged.reason == "DigestDiffers"
    assert faulty.source.steps == 0


async def test_a_source_that_stays_busy_is_shown_as_waiting_and_others_have_their_turn(tmp_path: Path) -> None:
    other = checkpoint(seed=2, layers=4, shards=2)
    busy = True

    def before(_: int, data: bytes) -> bytes:
        if busy and data and data in MODEL.files[SHARD]:
            raise Busy("429: asked too often")
        return data

    waiting = Pod(tmp_path, MemorySource({}, piece=PIECE, before=before))
    files = {MODEL.item().source: MODEL.files, "mem://other": other.files}

    def open_source(uri: str, *, revision: str, credentials: Path | None) -> MemorySource:
        del revision, credentials
        return replace(waiting.source, files=files[uri])

    waiting.open_source = open_source
    second = other.item(source="mem://other")
    waiting.desire(MODEL.item(), second)
    stager = waiting.stager()
    staged = await until_outcome(stager, second, "ready", time_passes=waiting.time)
    assert staged.reason == ""
    first = await until_outcome(stager, MODEL.item(), "waiting")
    assert first.reason == "WeightsBusy"
    assert "429" in first.message
    busy = False
    await until_outcome(stager, MODEL.item(), "ready", time_passes=waiting.time)


async def test_a_source_without_ranges_costs_more_bytes_and_works(tmp_path: Path) -> None:
    item = MODEL.item()
    plain = pod(tmp_path, once(9, Broken("cut")), ranged=False, stage=1)
    plain.configure(item)
    staged = await until_outcome(plain.stager(), item, "ready")
    assert read_safetensors(plain.target(item)).items() <= MODEL.tensors.items()
    assert staged.bytes_read > staged.bytes_total
    assert set(MODEL.files) - {INDEX, *MODEL.places} <= {path.name for path in plain.target(item).iterdir()}
