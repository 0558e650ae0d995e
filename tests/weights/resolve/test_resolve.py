"""The resolver against every scheme: the same weights, the same manifest; and for each harm its word."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llama_serving.config.reasons import CellReason, ReportReason
from llama_serving.config.weights import Manifest
from llama_serving.weights.resolve.progress import ReadProgress
from llama_serving.weights.resolve.report import Resolution
from llama_serving.weights.resolve.resolve import ResolveRequest, resolve
from llama_serving.weights.source.factory import open_source
from llama_serving.weights.source.interface import Source
from llama_serving.weights.source.retry import RetryPolicy
from tests.unit.weights.model.folders import FIRST, SECOND, edit_json
from tests.weights.faults import Fault
from tests.weights.models import SERVED, make_model
from tests.weights.places import Place


async def no_sleep(seconds: float) -> None:
    """Waits are counted by the retry policy, not spent."""


PATIENCE = RetryPolicy(deadline=120, sleep=no_sleep, jitter=lambda: 0.0)


async def look(source: Source, wanted: ResolveRequest, *, retry: RetryPolicy = PATIENCE) -> Resolution:
    return await resolve(source, wanted, retry=retry, progress=ReadProgress(lambda _: None))


def expected(model: Path) -> Manifest:
    """The manifest by the plainest means."""
    files = [
        {"path": name, "size": (model / name).stat().st_size, "sha256": sha256((model / name).read_bytes())}
        for name in SERVED
    ]
    return Manifest.model_validate({"files": files})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tensors_of(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    entries = {k: v["data_offsets"] for k, v in json.loads(content[8:length]).items() if k != "__metadata__"}
    return {name: sha256(content[length + begin : length + end]) for name, (begin, end) in entries.items()}


def assert_whole(resolution: Resolution, model: Path) -> None:
    report, manifest = resolution.report, resolution.manifest
    assert (report.outcome, report.reason) == ("accepted", "Accepted"), report.message
    assert manifest is not None
    assert manifest.digest == report.digest == expected(model).digest
    assert sorted(file.path for file in manifest.files) == sorted(SERVED)
    assert (report.files, report.bytes) == (len(SERVED), expected(model).bytes)
    assert manifest.tensors == {name: tensors_of(model / name) for name in (FIRST, SECOND)}
    assert manifest.headers == {name: header_of(model / name) for name in (FIRST, SECOND)}
    assert report.facts is not None
    assert (report.facts.layers, report.facts.files, report.license) == (2, 2, "llama3.1")


def header_of(path: Path) -> str:
    content = path.read_bytes()
    return sha256(content[: 8 + int.from_bytes(content[:8], "little")])


async def test_the_same_manifest_from_everywhere(place: Place, model: Path) -> None:
    resolution = await look(place.open(), ResolveRequest(place.uri, license="llama3.1"))
    assert_whole(resolution, model)
    assert resolution.report.revision == place.resolved


async def test_through_cuts_and_429(place: Place, model: Path) -> None:
    target = place.target(SECOND)
    place.proxy.faults += [
        Fault("busy", retry_after="2"),
        Fault("cut", target, at=1_200_000),
        Fault("busy", target),
        Fault("cut", target, at=400_000),
    ]
    assert_whole(await look(place.open(), ResolveRequest(place.uri)), model)
    assert len(place.proxy.happened) == 4


async def test_one_bit_is_another(place: Place, model: Path) -> None:
    """Where the source lists digests the file is refused; elsewhere the manifest is another than the expected one."""
    place.proxy.faults.append(Fault("flip", place.target(SECOND), at=1_000_000, times=1000))
    report = (await look(place.open(), ResolveRequest(place.uri, digest=expected(model).digest))).report
    assert (report.outcome, report.reason) == ("refused", ReportReason.DIGEST_DIFFERS)
    assert (SECOND if place.lists_sha256 else expected(model).digest) in report.message


async def test_another_digest_than_the_expected_one(place: Place, model: Path) -> None:
    wrong = f"sha256:{'0' * 64}"
    report = (await look(place.open(), ResolveRequest(place.uri, digest=wrong))).report
    assert report.reason == ReportReason.DIGEST_DIFFERS
    assert f"have the digest {expected(model).digest}, expected is {wrong}" in report.message


async def test_listing_reads_no_weights(place: Place, model: Path) -> None:
    """With the source's own digests where it has them; else it is said what to do."""
    resolution = await look(place.open(), ResolveRequest(place.uri, check="listing"))
    if not place.lists_sha256:
        assert resolution.report.reason == ReportReason.DIGEST_UNKNOWN
        assert "put a file SHA256SUMS beside it" in resolution.report.message
        return
    assert resolution.manifest is not None, resolution.report.message
    assert (resolution.manifest.digest, resolution.manifest.tensors) == (expected(model).digest, {})
    assert place.proxy.ranges(place.target(FIRST)) == ["0-32767"]


async def test_a_source_that_stays_broken(place: Place) -> None:
    place.proxy.faults.append(Fault("cut", place.target(FIRST), at=0, times=1000))
    clock = iter(range(0, 100_000, 20))
    report = (
        await look(place.open(), ResolveRequest(place.uri), retry=replace(PATIENCE, clock=lambda: next(clock)))
    ).report
    assert (report.outcome, report.reason) == ("refused", ReportReason.WEIGHTS_BROKEN)
    assert report.revision == place.resolved


async def test_a_revision_that_is_not_there(place: Place) -> None:
    report = (await look(place.open(revision="v0"), ResolveRequest(place.uri))).report
    assert (report.outcome, report.reason) == ("refused", ReportReason.WEIGHTS_GONE)


# What is wrong with the model itself does not depend on the scheme.

Change = Callable[[Path], object]


def write(name: str, content: bytes | str) -> Change:
    return lambda model: (model / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def shortened(model: Path) -> None:
    (model / SECOND).write_bytes((model / SECOND).read_bytes()[:-5])


def pickles_only(model: Path) -> None:
    for name in (FIRST, SECOND, "model.safetensors.index.json"):
        (model / name).unlink()
    (model / "pytorch_model.bin").write_bytes(b"x")


def config(**changes: object) -> Change:
    return lambda model: edit_json(model / "config.json", **changes)


BAD: dict[str, tuple[Change, str, str]] = {
    "another architecture": (config(architectures=["QwenForCausalLM"]), CellReason.MODEL_REFUSED, "QwenForCausalLM"),
    "auto_map": (config(auto_map={"a": "b"}), CellReason.MODEL_REFUSED, "config.json has an auto_map"),
    "python files": (write("modeling_x.py", ""), CellReason.MODEL_REFUSED, "holds modeling_x.py; a model with code"),
    "pickles only": (pickles_only, CellReason.MODEL_REFUSED, "the weights are in pytorch_model.bin"),
    "cut off": (shortened, CellReason.WEIGHTS_UNREADABLE, f"{SECOND} is cut off"),
    "no config": (lambda model: (model / "config.json").unlink(), CellReason.WEIGHTS_MISSING, "config.json is not in"),
    "other license": (
        write("README.md", "---\nlicense: apache-2.0\n---\n"),
        ReportReason.LICENSE_REFUSED,
        "name the license apache-2.0, accepted was llama3.1",
    ),
    "other licenses in a list": (
        write("README.md", "---\nlicense:\n- apache-2.0\n- mit\n---\n"),
        ReportReason.LICENSE_REFUSED,
        "name the licenses apache-2.0, mit, accepted was llama3.1: read it, and name one of apache-2.0, mit",
    ),
    "one other license in a list": (
        write("README.md", "---\nlicense: [cc-by-nc-4.0]\n---\n"),
        ReportReason.LICENSE_REFUSED,
        "name the license cc-by-nc-4.0, accepted was llama3.1",
    ),
    "a license that cannot be read": (
        write("README.md", "---\nlicense: [llama3.1\n---\n"),
        ReportReason.LICENSE_REFUSED,
        "the head of README.md is no YAML (line 3: ",
    ),
    "wrong sums": (
        write("SHA256SUMS", f"{'0' * 64}  {SECOND}\n"),
        ReportReason.DIGEST_DIFFERS,
        f"itself lists {'0' * 64}",
    ),
}


def folder_source(model: Path) -> Source:
    return open_source("pvc://claim/model", revision="v1", credentials=None, mount=model.parent)


@pytest.mark.parametrize(("change", "reason", "sentence"), BAD.values(), ids=BAD.keys())
async def test_refusals_of_a_folder(model: Path, *, change: Change, reason: str, sentence: str) -> None:
    change(model)
    report = (await look(folder_source(model), ResolveRequest("pvc://claim/model", license="llama3.1"))).report
    assert (report.outcome, report.reason) == ("refused", reason), report.message
    assert sentence in report.message


@pytest.mark.parametrize(
    ("head", "name", "note"),
    [
        ("license: [apache-2.0, llama3.1]", "apache-2.0, llama3.1", ""),
        ("license: llama3.1\ntags: [a", "llama3.1", "the license is llama3.1 by what could be read"),
        ("tags: [a", "", "no license was compared"),
    ],
)
async def test_heads_that_are_taken(model: Path, *, head: str, name: str, note: str) -> None:
    (model / "README.md").write_text(f"---\n{head}\n---\n")
    report = (await look(folder_source(model), ResolveRequest("pvc://claim/model", license="llama3.1"))).report
    assert (report.outcome, report.license) == ("accepted", name), report.message
    assert report.message.endswith(note)
    assert ("the head of README.md is no YAML" in report.message) is bool(note)


# A web server lists nothing, so that of its folder only the names that a model has are known.
_UNSEEN = {"http": ("wrong sums", "python files"), "hf": ("wrong sums",)}
_SEEN = [(scheme, *BAD[key]) for scheme, unseen in _UNSEEN.items() for key in BAD if key not in unseen]


@pytest.mark.parametrize(("place", "change", "reason", "sentence"), _SEEN, indirect=["place"])
async def test_refusals_from_a_source(place: Place, *, model: Path, change: Change, reason: str, sentence: str) -> None:
    """The same through sources that serve the folder as it is now: only headers and small files are read."""
    change(model)
    report = (await look(place.open(), ResolveRequest(place.uri, license="llama3.1"))).report
    assert (report.outcome, report.reason) == ("refused", reason), report.message
    assert sentence in report.message
    assert all(asked in ("0-32767", "0-0", "") for asked in place.proxy.ranges(place.target(FIRST)))


async def test_a_folder_of_a_claim(model: Path) -> None:
    assert_whole(await look(folder_source(model), ResolveRequest("pvc://claim/model", license="llama3.1")), model)


async def test_a_claim_with_sums_needs_no_reading(model: Path) -> None:
    sums = "".join(f"{sha256((model / name).read_bytes())}  {name}\n" for name in (FIRST, SECOND))
    (model / "SHA256SUMS").write_text(sums)
    resolution = await look(folder_source(model), ResolveRequest("pvc://claim/model", check="listing"))
    assert resolution.manifest is not None, resolution.report.message
    assert resolution.manifest.digest == expected(model).digest


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    report = (await look(folder_source(tmp_path / "model"), ResolveRequest("pvc://claim/model"))).report
    assert report.reason == CellReason.WEIGHTS_MISSING
    assert "there is no folder" in report.message


async def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    digests = set()
    for seed in (1, 2):
        model = make_model(tmp_path / str(seed) / "model", seed=seed)
        digests.add((await look(folder_source(model), ResolveRequest("pvc://claim/model"))).report.digest)
    assert len(digests) == 2
