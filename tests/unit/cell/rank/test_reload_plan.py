"""Which tensor goes where; what is missing is found before anything is touched. And what a rank reports of a load."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llama_serving.cell.rank.reload_plan import IncompleteError, Piece, plan_reload
from llama_serving.cell.rank.worker_extension import WorkerExtension
from llama_serving.cell.shared.verified_links import create_link

STACKED: dict[str, tuple[str, str | int]] = {
    ".q_proj": (".qkv_proj", "q"),
    ".k_proj": (".qkv_proj", "k"),
    ".v_proj": (".qkv_proj", "v"),
    ".gate_proj": (".gate_up_proj", 0),
    ".up_proj": (".gate_up_proj", 1),
}
LAYER = "model.layers.1."
NAMES = {
    *(f"{LAYER}self_attn.{part}_proj.weight" for part in "qkvo"),
    *(f"{LAYER}mlp.{part}_proj.weight" for part in ("gate", "up", "down")),
    f"{LAYER}input_layernorm.weight",
    "model.norm.weight",
}
PARAMETERS = (
    f"{LAYER}self_attn.qkv_proj.weight",
    f"{LAYER}self_attn.o_proj.weight",
    f"{LAYER}mlp.gate_up_proj.weight",
    f"{LAYER}mlp.down_proj.weight",
    f"{LAYER}input_layernorm.weight",
    "model.norm.weight",
)
ELSEWHERE = "model.layers.0."


def planned(names: set[str]) -> dict[str, list[Piece]]:
    return plan_reload(names, parameters=PARAMETERS, stacked=STACKED, is_elsewhere=lambda name: name.startswith(ELSEWHERE))


def test_every_tensor_has_one_place_and_every_parameter_is_whole() -> None:
    todo = planned(NAMES | {f"{ELSEWHERE}mlp.up_proj.weight"})
    assert tuple(todo) == PARAMETERS
    assert {piece.name for pieces in todo.values() for piece in pieces} == NAMES
    assert {piece.shard for piece in todo[PARAMETERS[0]]} == {"q", "k", "v"}
    assert todo[PARAMETERS[2]] == [
        Piece(f"{LAYER}mlp.gate_proj.weight", 0),
        Piece(f"{LAYER}mlp.up_proj.weight", 1),
    ]
    assert todo["model.norm.weight"] == [Piece("model.norm.weight", None)]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_tensor_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(IncompleteError, match=f"^the files lack {name}$"):
        planned(NAMES - {name})


def test_a_tensor_without_a_place_is_named() -> None:
    with pytest.raises(IncompleteError, match=r"hold model\.extra\.weight, which this model has no place for"):
        planned(NAMES | {"model.extra.weight"})


def test_a_parameter_that_is_fused_on_disk_is_taken_as_it_is() -> None:
    fused = {name for name in NAMES if "mlp.gate" not in name and "mlp.up" not in name} | {PARAMETERS[2]}
    assert planned(fused)[PARAMETERS[2]] == [Piece(PARAMETERS[2], None)]
    with pytest.raises(IncompleteError, match="lack"):
        planned(fused | {f"{LAYER}mlp.up_proj.weight"})


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
        if self._during is not None:
            self._during()
        return 7


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A verified folder behind its link."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "model.safetensors").write_bytes(b"x")
    create_link(tmp_path, digest=DIGEST, folder=tmp_path / "files")
    return tmp_path / ("a" * 16)


def test_a_rank_says_what_it_holds_and_what_it_loaded(sealed: Path) -> None:
    me: dict[str, Any] = {"rank": 1, "pid": os.getpid(), "host": socket.gethostname(), "layers": [15, 30]}
    assert Rank(sealed).stage_report() == {**me, "digest": DIGEST}
    assert Rank(sealed).load_stage(str(sealed)) == {**me, "digest": DIGEST, "bytes": 7}
    assert Rank(sealed.parent / "files").stage_report() == {**me, "digest": ""}


def test_a_folder_that_changes_while_it_is_read_is_noticed(sealed: Path) -> None:
    late = sealed.parent / "files" / "late.safetensors"
    report = Rank(sealed, during=late.touch).load_stage(str(sealed))
    assert "digest" not in report
    assert report["error"].endswith("late.safetensors was changed after it was verified")


def test_a_load_that_fails_is_told_and_not_raised(sealed: Path) -> None:
    def breaks() -> None:
        raise IncompleteError("the files lack model.norm.weight")

    assert Rank(sealed, during=breaks).load_stage(str(sealed))["error"] == (
        "IncompleteError: the files lack model.norm.weight"
    )
