"""The share of a stage: what is wanted less what is done, once each, with the digests of the manifest."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.config.weights import Manifest, ManifestFile
from llama_serving.weights.model.safetensors import LENGTH, header_length, parse_header
from llama_serving.weights.staging.decide.errors import StagingRefused
from llama_serving.weights.staging.decide.expected import (
    StagedRecord,
    check_record,
    expected_at_source,
    expected_in_folder,
    stage_tensors,
)
from llama_serving.weights.staging.decide.partition import LayerPartition, is_needed
from llama_serving.weights.staging.decide.ranges import HEADER, WHOLE
from llama_serving.weights.staging.decide.stage_share import StageShare, VerifiedHeader, candidate_files, stage_share
from tests.fakes.staging import INDEX, Checkpoint, checkpoint

MODEL = checkpoint(layers=5, shards=3, tied=True)


def head_of(model: Checkpoint, file: str) -> VerifiedHeader:
    data = model.files[file]
    end = LENGTH.size + header_length(file, data[: LENGTH.size], size=len(data))
    tensors = parse_header(file, data[LENGTH.size : end], size=len(data))
    return VerifiedHeader(end, hashlib.sha256(data[:end]).hexdigest(), tensors)


def share(stage: int, stages: int, *, full: bool) -> StageShare:
    partition = LayerPartition(5, stage, stages, tied=True)
    expected = expected_at_source(MODEL.manifest(full=full))
    files = candidate_files(expected, partition, index=MODEL.files[INDEX])
    return stage_share(expected, partition, {file: head_of(MODEL, file) for file in files})


@settings(deadline=None)  # a busy machine is no error
@given(data=st.data(), stages=st.integers(1, 5), full=st.booleans(), ranged=st.booleans())
def test_requests_and_what_is_done_are_the_share(data: st.DataObject, *, stages: int, full: bool, ranged: bool) -> None:
    mine = share(data.draw(st.integers(0, stages - 1)), stages, full=full)
    everything = {(file, tensor) for file, tensors in mine.tensors.items() for tensor in tensors}
    everything |= {(file.path, WHOLE) for file in mine.expected.small}
    done = data.draw(st.sets(st.sampled_from(sorted(everything))))
    reads = mine.read_requests(done, ranged=ranged)
    asked = [(read.file, part.tensor) for read in reads for part in read.parts if part.tensor != HEADER]
    assert len(asked) == len(set(asked))
    if full:
        assert set(asked) == everything - done
    else:  # a file is verified as one, so all of it is read again
        assert everything - done <= set(asked) <= everything
        assert all(read.sha256 or read.parts[0].tensor == WHOLE for read in reads)
    sizes = {
        (read.file, part.tensor): part.size for read in mine.read_requests(set(), ranged=True) for part in read.parts
    }
    assert mine.bytes_left(done) == mine.needed_bytes - sum(sizes[one] for one in done)
    assert mine.bytes_left(everything) == 0


@pytest.mark.parametrize("full", [True, False])
def test_every_part_has_the_place_and_the_digest_of_its_tensor(full: bool) -> None:
    for stage in range(3):
        for read in share(stage, 3, full=full).read_requests(frozenset(), ranged=True):
            for part in read.parts:
                if part.tensor not in (HEADER, WHOLE):
                    assert (part.begin, part.end) == MODEL.places[read.file][part.tensor]
                    digest = hashlib.sha256(MODEL.tensors[part.tensor]).hexdigest()
                    assert part.sha256 == (digest if full else "")


def test_a_header_of_another_file_is_refused() -> None:
    expected, partition = expected_at_source(MODEL.manifest()), LayerPartition(5, 0, 1, tied=True)
    first, second, _ = MODEL.places
    with pytest.raises(StagingRefused, match="the header of"):
        stage_share(expected, partition, {first: head_of(MODEL, second)})


def test_without_digests_of_headers_the_names_must_agree() -> None:
    manifest = MODEL.manifest().model_copy(update={"headers": {}})
    first, second, _ = MODEL.places
    with pytest.raises(StagingRefused, match="do not name the same tensors"):
        stage_share(expected_at_source(manifest), LayerPartition(5, 0, 1, tied=True), {first: head_of(MODEL, second)})


def test_an_index_that_names_files_which_the_manifest_has_not_is_refused() -> None:
    index = b'{"weight_map": {"model.norm.weight": "elsewhere.safetensors"}}'
    with pytest.raises(StagingRefused, match=r"elsewhere\.safetensors"):
        candidate_files(expected_at_source(MODEL.manifest(full=False)), LayerPartition(5, 0, 1, tied=True), index=index)


@pytest.mark.parametrize("index", [b"", b"[]", b"{}", b'{"weight_map": 3}', b'{"weight_map": [1]}'])
def test_an_index_that_is_none_is_refused(index: bytes) -> None:
    with pytest.raises(StagingRefused, match="index"):
        candidate_files(expected_at_source(MODEL.manifest(full=False)), LayerPartition(5, 0, 1, tied=True), index=index)


def test_digests_of_some_files_only_are_as_good_as_none() -> None:
    manifest = MODEL.manifest()
    some = dict(list(manifest.tensors.items())[1:])
    expected = expected_at_source(manifest.model_copy(update={"tensors": some}))
    assert not expected.tensors
    assert set(expected.whole) == set(MODEL.places)


@pytest.mark.parametrize("path", ["../evil.json", "/etc/passwd", "..", "sub/config.json"])
def test_files_outside_of_the_folder_are_refused(path: str) -> None:
    manifest = Manifest(files=(ManifestFile(path=path, size=1, sha256="0" * 64),))
    with pytest.raises(StagingRefused, match="does not lie directly"):
        expected_at_source(manifest)


def test_a_record_is_believed_only_where_it_agrees_with_the_manifest() -> None:
    manifest, partition = MODEL.manifest(), LayerPartition(5, 0, 2, tied=True)
    mine = stage_tensors(manifest.tensors, partition)
    record = StagedRecord(digest=manifest.digest, stage=0, stages=2, sizes=dict.fromkeys(mine, 1), tensors=mine)
    check_record(record, manifest, partition)
    file, names = next(iter(mine.items()))
    for wrong in (dict.fromkeys(names, "0" * 64), dict(list(names.items())[1:])):
        with pytest.raises(StagingRefused, match="other tensors or digests"):
            check_record(record.model_copy(update={"tensors": {**mine, file: wrong}}), manifest, partition)
    for other in ({"stage": 1}, {"stages": 4}, {"digest": "sha256:" + "0" * 64}):
        with pytest.raises(StagingRefused, match=r"staged\.json is of stage"):
            expected_in_folder(manifest, record.model_copy(update=other), stage=0, stages=2)


def test_all_shares_together_are_the_model() -> None:
    parts = [set(share(stage, 3, full=True).tensors) for stage in range(3)]
    assert set.union(*parts) == set(MODEL.places)
    for name in MODEL.tensors:
        assert any(is_needed(name, LayerPartition(5, stage, 3, tied=True)) for stage in range(3))
