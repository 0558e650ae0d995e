"""What a reader makes of a verified link, and of one whose folder changed."""

import os
from pathlib import Path

import pytest

from llama_serving.cell.shared.verified_links import ChangedWeightsError, create_link, remove_link, verified_digest
from llama_serving.cell.shared.weights_ref import short_digest

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights that were verified and linked."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"a")
    create_link(tmp_path / "links", digest=DIGEST, folder=folder)
    return folder


def link(folder: Path) -> Path:
    return folder.parent / "links" / short_digest(DIGEST)


def test_a_reader_reaches_the_files_and_their_digest(folder: Path) -> None:
    assert (link(folder) / "model.safetensors").read_bytes() == b"a"
    assert verified_digest(link(folder)) == DIGEST


@pytest.mark.parametrize("change", ["write", "add", "remove"])
def test_a_reader_notices_files_that_changed_after_their_verification(folder: Path, change: str) -> None:
    file = folder / "model.safetensors"
    match change:
        case "write":
            file.write_bytes(b"z")
            os.utime(file, ns=(1, 1))
        case "add":
            (folder / "more.safetensors").touch()
        case _:
            file.unlink()
    with pytest.raises(ChangedWeightsError, match=r"\.safetensors was changed after it was verified"):
        verified_digest(link(folder))


def test_a_reader_notices_a_folder_that_is_gone(folder: Path) -> None:
    folder.rename(folder.parent / "moved")
    with pytest.raises(ChangedWeightsError, match="cannot be listed: not found"):
        verified_digest(link(folder))
    link(folder).with_name(f"{short_digest(DIGEST)}.json").unlink()
    with pytest.raises(ChangedWeightsError, match="a link without its record"):
        verified_digest(link(folder))
    remove_link(folder.parent / "links", digest=DIGEST)
    assert verified_digest(folder.parent / "moved") == "", "a folder that nobody verified"
