"""The weights that an engine loads, where a stage finds them, and what a new replica begins with."""

from pathlib import Path
from typing import Any

import pytest

from llama_serving.cell.shared.last_deployed import read_last_deployed, write_last_deployed
from llama_serving.cell.shared.weights_ref import display_name, engine_weights, is_staged, is_verified, stage_folder
from llama_serving.config.cell import WeightsRef
from tests.unit.cell.worlds import OLD, config

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("weights", "folder"),
    [
        ({"path": "/weights/aaaaaaaaaaaaaaaa", "digest": DIGEST}, "/weights/aaaaaaaaaaaaaaaa/stage-1-of-2"),
        ({"path": "/models/llama/r2", "digest": DIGEST}, "/models/llama/r2"),
    ],
)
def test_where_a_stage_finds_its_files(weights: dict[str, Any], folder: str) -> None:
    assert stage_folder(WeightsRef(id="w", served_name="llama", **weights), stage=1, stages=2) == folder


def test_weights_without_a_digest_or_a_stager_are_loaded_from_where_they_lie() -> None:
    plain = WeightsRef(path="/models/w1", id="w1", served_name="llama")
    assert not is_staged(config(staged=True), plain)
    assert not is_staged(config(), plain.model_copy(update={"digest": DIGEST}))
    assert engine_weights(config(staged=True), plain) == OLD
    assert not is_verified(OLD)


def test_an_engine_keeps_the_served_name_of_its_pod() -> None:
    weights = WeightsRef(path="/weights/x", id="w2", served_name="other", digest=DIGEST)
    loaded = engine_weights(config(staged=True), weights)
    assert (loaded.served_name, loaded.id, loaded.digest, is_verified(loaded)) == ("llama", "w2", DIGEST, True)


@pytest.mark.parametrize(
    ("name", "digest", "shown"),
    [("w1", "", "w1"), ("w1", DIGEST, "w1 (aaaaaaaaaaaa)"), ("main (aaaaaaaaaaaa)", DIGEST, "main (aaaaaaaaaaaa)")],
)
def test_the_name_in_sentences_has_the_beginning_of_the_digest(name: str, digest: str, shown: str) -> None:
    assert display_name(OLD.model_copy(update={"id": name, "digest": digest})) == shown


def test_what_serve_was_given_last_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "serve.json"
    assert read_last_deployed(path=path) is None
    write_last_deployed(OLD, path=path)
    assert read_last_deployed(path=path) == OLD
    path.write_text("{}", encoding="utf-8")
    assert read_last_deployed(path=path) is None
