"""Which tensors of a checkpoint go into which parameters of a stage, decided before the first is touched.

vLLM fuses some tensors (q, k and v into one parameter; gate and up into another), shares the embedding with the head
where they are tied, and has no layers of other stages. Every parameter must be covered in full, else the old weights
would live on in a part of the model.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

ShardId = str | int


class IncompleteError(Exception):
    """The files do not hold what this stage needs; the text is one sentence."""


@dataclass(frozen=True)
class Piece:
    """One tensor of the files and where it goes."""

    name: str  # in the files
    shard: ShardId | None  # part of a fused parameter; None: all of it


def plan_reload(
    names: Collection[str],
    *,
    parameters: Collection[str],
    stacked: Mapping[str, tuple[str, ShardId]],
    is_elsewhere: Callable[[str], bool],
) -> dict[str, list[Piece]]:
    """Return by parameter the tensors that make it up, in the order of the parameters.

    ``stacked`` maps a part of a tensor's name to that of its parameter and the piece of it (``.q_proj`` to
    ``.qkv_proj``, ``q``); ``is_elsewhere`` says of a tensor that other stages have it, or that nobody needs it.

    Raises:
        IncompleteError: a parameter is not covered, or a tensor has no place.
    """
    found: dict[str, list[Piece]] = {parameter: [] for parameter in parameters}
    for name in sorted(names):
        target, shard = _target(name, stacked)
        if target in found:
            found[target].append(Piece(name, shard))
        elif not is_elsewhere(name):
            raise IncompleteError(f"the files hold {name}, which this model has no place for")
    for parameter, pieces in found.items():
        _check(parameter, pieces, stacked)
    return found


def _target(name: str, stacked: Mapping[str, tuple[str, ShardId]]) -> tuple[str, ShardId | None]:
    for part, (fused, shard) in stacked.items():
        if part in name:
            return name.replace(part, fused, 1), shard
    return name, None


def _check(parameter: str, pieces: list[Piece], stacked: Mapping[str, tuple[str, ShardId]]) -> None:
    parts = {part: shard for part, (fused, shard) in stacked.items() if f"{fused}." in parameter}
    have = {piece.shard for piece in pieces}
    if (None in have and len(have) == 1) or (parts and have == set(parts.values())):
        return
    lacking = [parameter.replace(stacked[part][0], part, 1) for part, shard in parts.items() if shard not in have]
    raise IncompleteError(f"the files lack {(lacking or [parameter])[0]}")
