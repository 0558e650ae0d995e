"""Which tensor goes where; what is missing is found before anything is touched."""

import pytest

from llama_serving.cell.rank.reload_plan import IncompleteError, Piece, plan_reload

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
    return plan_reload(
        names, parameters=PARAMETERS, stacked=STACKED, is_elsewhere=lambda name: name.startswith(ELSEWHERE)
    )


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
