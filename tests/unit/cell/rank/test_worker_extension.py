"""What a rank reports of itself and of a reload."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llama_serving.cell.rank.reload_plan import IncompleteError
from llama_serving.cell.rank.worker_extension import WorkerExtension
from llama_serving.cell.shared.verified_links import create_link

DIGEST = "sha256:" + "a" * 64


class Rank(WorkerExtension):
    """A rank whose load does what a test says."""

    rank = 1

    def __init__(self, path: Path, *, during: Any = None) -> None:
        inner = SimpleNamespace(start_layer=15, end_layer=30)
        self.model_runner = SimpleNamespace(get_model=lambda: SimpleNamespace(model=inner))
        self.vllm_config = SimpleNamespace(model_config=SimpleNamespace(model=str(path)))
        self._during = during

    def _load(self, path: str) -> int:
        assert Path(path).is_dir()
        if self._during is not None:
            self._during()
        return 7


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """A verified folder behind its link."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "model.safetensors").write_bytes(b"x")
    create_link(tmp_path, digest=DIGEST, folder=tmp_path / "files")
    return tmp_path / ("a" * 16)


def test_a_rank_reports_what_it_holds_and_what_it_loaded(link: Path) -> None:
    me: dict[str, Any] = {"rank": 1, "pid": os.getpid(), "host": socket.gethostname(), "layers": [15, 30]}
    assert Rank(link).rank_report() == {**me, "digest": DIGEST}
    assert Rank(link).reload_rank(str(link)) == {**me, "digest": DIGEST, "bytes": 7}
    assert Rank(link.parent / "files").rank_report() == {**me, "digest": ""}


def test_a_folder_that_changes_while_it_is_read_is_noticed(link: Path) -> None:
    late = link.parent / "files" / "late.safetensors"
    report = Rank(link, during=late.touch).reload_rank(str(link))
    assert "digest" not in report
    assert report["error"].endswith("late.safetensors was changed after it was verified")


def test_a_load_that_fails_is_reported_and_not_raised(link: Path) -> None:
    def breaks() -> None:
        raise IncompleteError("the files lack model.norm.weight")

    assert Rank(link, during=breaks).reload_rank(str(link))["error"] == (
        "IncompleteError: the files lack model.norm.weight"
    )
