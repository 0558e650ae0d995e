"""The rotary embedding of a Llama as config.json describes it, checked as the engine checks it.

Old and new keys are read as transformers does: ``rope_scaling`` before ``rope_parameters``, ``type`` where there is no
``rope_type``, and theta and the rotary share from the dict before those beside it. Sources: transformers 5,
``RotaryEmbeddingConfigMixin``; vLLM 0.32, ``patch_legacy_rope_type`` and ``get_rope``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llama_serving.weights.model.errors import refused, shown, shown_list
from llama_serving.weights.model.folder import CONFIG

#: Types whose ``max_position_embeddings`` is the scaled length already: their factor does not lengthen the context.
SCALED_ALREADY: Final = frozenset({"llama3", "longrope", "yarn"})
_DEFAULT_THETA: Final = 10_000.0
# Type -> numbers that it cannot do without. (A factor beside ``default`` turns nothing, yet the engine counts it.)
_NUMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "ntk": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "longrope": ("original_max_position_embeddings",),
    "proportional": (),
    "mllama4": (),
}
_LISTS: Final = {"longrope": ("short_factor", "long_factor")}
_RENAMED: Final = {"su": "longrope", "mrope": "default", "telechat3-yarn": "yarn"}
_SAME: Final = frozenset({("su", "longrope"), ("mrope", "default")})


@dataclass(frozen=True)
class Rope:
    """A rotary embedding that the engine takes."""

    type: str
    factor: float | None = None

    @property
    def context_factor(self) -> float:
        """Number by which the lengths in config.json are multiplied."""
        return 1.0 if self.type in SCALED_ALREADY or self.factor is None else self.factor


def read_rope(config: Mapping[str, Any], *, head_dim: int, max_positions: int) -> Rope:
    """Return the rotary embedding of config.json. Raises RefusedError where the engine refuses it."""
    given = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(given, dict):
        raise refused(f"{CONFIG}: rope_scaling must be an object or null and is {shown(given)}")
    nested = sorted(key for key, value in given.items() if isinstance(value, dict))
    if nested:
        raise refused(f"{CONFIG}: rope_scaling has one entry per kind of layer ({shown_list(nested)}), a Llama has one")
    rope = {"rope_theta": _DEFAULT_THETA, **_beside(config), **given}
    rope_type = _type(rope)
    rope["original_max_position_embeddings"] = config.get(
        "original_max_position_embeddings", rope.get("original_max_position_embeddings", max_positions)
    )
    factor = _optional_number(rope, "factor")
    for key in ("rope_theta", *_NUMBERS[rope_type]):
        _positive_number(rope, key, rope_type)
    if rope_type == "linear" and not isinstance(factor, float):  # the engine takes a whole number for a list
        raise refused(
            f"{CONFIG}: rope_scaling of type linear has the factor {factor}: write it with a point, {factor}.0"
        )
    _check_rotary_dim(rope, rope_type=rope_type, head_dim=head_dim)
    return Rope(rope_type, factor)


def _beside(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("rope_theta", "partial_rotary_factor") if key in config}


def _type(rope: Mapping[str, Any]) -> str:
    old, new = rope.get("type"), rope.get("rope_type")
    if old is not None and new is not None and old != new and (old, new) not in _SAME:
        raise refused(f"{CONFIG}: rope_scaling names two types, {shown(old)} and {shown(new)}: take one out")
    named = rope.get("rope_type", rope.get("type", "default"))
    if named == "mrope" and "mrope_section" not in rope:
        raise refused(f"{CONFIG}: rope_scaling of type mrope needs mrope_section")
    rope_type = _RENAMED.get(named, named) if isinstance(named, str) else ""
    if rope_type not in _NUMBERS:
        raise refused(f"{CONFIG}: rope_scaling has the type {shown(named)}, served are {', '.join(sorted(_NUMBERS))}")
    return rope_type


def _optional_number(rope: Mapping[str, Any], key: str) -> float | None:
    value = rope.get(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise refused(f"{CONFIG}: rope_scaling must have a number as {key} and has {shown(value)}")


def _positive_number(rope: Mapping[str, Any], key: str, rope_type: str) -> None:
    value = _optional_number(rope, key)
    if value is None or value <= 0:
        said = "has none" if value is None else f"has {value}"
        raise refused(f"{CONFIG}: rope_scaling of type {rope_type} needs a number above 0 as {key} and {said}")


def _check_rotary_dim(rope: Mapping[str, Any], *, rope_type: str, head_dim: int) -> None:
    share = rope.get("partial_rotary_factor", 1.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise refused(f"{CONFIG}: partial_rotary_factor must be above 0 and at most 1 and is {shown(share)}")
    rotary = int(head_dim * share)
    # An odd width that is turned whole has no partner for its last number; transformers lets tiny heads pass.
    if head_dim > 4 and head_dim % 2 and rotary == head_dim:
        raise refused(f"{CONFIG}: head_dim is {head_dim}; a rotary embedding needs an even one")
    for key in _LISTS.get(rope_type, ()):
        _check_length(rope, key, wanted=rotary // 2)
    sections = rope.get("mrope_section")
    if sections is not None and (not _numbers(sections) or sum(sections) != rotary // 2):
        raise refused(f"{CONFIG}: mrope_section must add up to {rotary // 2} and is {shown(sections)}")


def _check_length(rope: Mapping[str, Any], key: str, *, wanted: int) -> None:
    values: Any = rope.get(key)
    if not _numbers(values) or len(values) != wanted:
        has = f"{len(values)} entries" if isinstance(values, list) else "none"
        raise refused(f"{CONFIG}: rope_scaling of type longrope needs {wanted} numbers as {key} and has {has}")


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) in (int, float) for value in values)
