"""The pure parts of the resolver: licenses, digests in one pass, progress, the packed manifest."""

import gzip
import hashlib
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llama_serving.config.model import WeightsReport
from llama_serving.config.weights import Manifest
from llama_serving.weights.model.chat import chat_facts
from llama_serving.weights.model.inspection import REPORT_LIMIT, encode
from llama_serving.weights.model.safetensors import Header, Tensor
from llama_serving.weights.resolve.digests import digest_file
from llama_serving.weights.resolve.progress import ReadProgress
from llama_serving.weights.resolve.publish import pack
from llama_serving.weights.resolve.resolve import ResolveRequest, resolve
from llama_serving.weights.source.local import LocalSource
from llama_serving.weights.source.retry import RetryPolicy
from tests.unit.config.chat import templates
from tests.unit.weights.model.folders import make_model


async def pieces(content: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    borders = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    for begin, end in pairwise(borders):
        yield content[begin:end]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=40), st.lists(st.binary(max_size=30), max_size=6), st.lists(st.integers(0, 300)))
async def test_digests_do_not_depend_on_the_pieces(header: bytes, tensors: list[bytes], cuts: list[int]) -> None:
    begin, described = 0, {}
    for number, content in enumerate(tensors):
        described[f"t{number}"] = Tensor("U8", (len(content),), begin, begin + len(content))
        begin += len(content)
    content = header + b"".join(tensors)
    found = await digest_file(pieces(content, cuts), Header(len(header), described))
    assert found.file == sha256(content)
    assert found.header == sha256(header)
    assert found.tensors == {f"t{number}": sha256(content) for number, content in enumerate(tensors)}


async def test_a_reader_that_fails_ends_the_hashing() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"abc"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await digest_file(broken(), Header(1, {}))


async def test_progress_says_rate_and_time_left() -> None:
    now = [0.0]
    lines: list[str] = []

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(10):
            now[0] += 2.0
            yield bytes(1_000_000)

    progress = ReadProgress(lines.append, clock=lambda: now[0])
    progress.expect(10_000_000)
    assert sum([len(piece) async for piece in progress.counted(slowly())]) == 10_000_000
    assert lines == [
        "read 3 of 10 MB at 0.5 MB/s, 14 s left",
        "read 6 of 10 MB at 0.5 MB/s, 8 s left",
        "read 9 of 10 MB at 0.5 MB/s, 2 s left",
    ]


def test_the_packed_manifest_of_a_large_model_fits_a_config_map() -> None:
    """126 layers as Llama 3.1 405B has them: 1,137 tensors in 191 files."""
    tensors = {
        f"model-{number:05}-of-00191.safetensors": {
            f"model.layers.{number}.{part}.weight": sha256(f"{number}{part}".encode()) for part in range(6)
        }
        for number in range(191)
    }
    files = [{"path": name, "size": 1, "sha256": sha256(name.encode())} for name in tensors]
    manifest = Manifest.model_validate({"files": files, "tensors": tensors})
    packed = pack(manifest)
    assert len(packed) < 200_000
    assert Manifest.model_validate_json(gzip.decompress(packed)) == manifest
    assert packed == pack(manifest)


@settings(deadline=None)
@given(st.text(max_size=9000))
def test_a_report_never_outgrows_the_termination_message(message: str) -> None:
    report = WeightsReport(outcome="refused", reason="WeightsGone", message=message, revision="v1")
    text = encode(report)
    assert len(text) <= REPORT_LIMIT
    assert message.startswith(WeightsReport.model_validate_json(text).message)


async def test_a_report_says_which_parsers_fit_the_model(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    (model / "chat_template.jinja").write_text(templates.HERMES, encoding="utf-8")
    source = LocalSource(model, revision="v1")
    found = await resolve(
        source, ResolveRequest("pvc://c/m"), retry=RetryPolicy(), progress=ReadProgress(lambda _: None)
    )
    assert found.report.outcome == "accepted", found.report.message
    assert found.report.chat is not None
    assert (found.report.chat.tools, found.report.chat.template) == ("hermes", "chat_template.jinja")
    assert WeightsReport.model_validate_json(encode(found.report)) == found.report


@pytest.mark.parametrize("name", ["m", "m/config.json"])
async def test_links_in_a_circle_are_a_sentence_and_no_bug(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(Path(name).name)
    source = LocalSource(tmp_path / "m", revision="v1", mount=tmp_path)
    request = ResolveRequest("pvc://c/m")
    found = await resolve(source, request, retry=RetryPolicy(deadline=0), progress=ReadProgress(lambda _: None))
    assert found.report.outcome == "refused"
    assert "(links in a circle)" in found.report.message


def test_a_report_of_an_older_resolver_is_read() -> None:
    assert WeightsReport.model_validate_json('{"outcome":"accepted","reason":"Accepted","message":""}').chat is None


@given(st.text(max_size=4000))
@example("long" * 1000)
def test_a_folder_that_cannot_be_read_leaves_room_in_the_report(name: str) -> None:
    chat = chat_facts(Path("/") / "absent" / name.replace("\0", "").replace("/", ""))
    report = WeightsReport(outcome="accepted", reason="Accepted", message="m", chat=chat)
    assert len(encode(report)) <= REPORT_LIMIT
