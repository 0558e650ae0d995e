"""Reads adapter_config.json, and refuses what the pinned engine cannot serve or would serve wrongly.

Source: vLLM 0.32, ``PEFTHelper``, which refuses most of it only when the adapter is loaded.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llama_serving.config.model import ENGINE_RANKS
from llama_serving.config.reasons import ReportReason
from llama_serving.weights.model.errors import RefusedError, shown
from llama_serving.weights.model.folder import Folder
from llama_serving.weights.model.weight_files import ADAPTER_CONFIG

MERGE: Final = "or merge the adapter into its model (merge_and_unload of PEFT) and serve that"
#: Inits that only set the first values; all others change the base that the adapter is added to.
_PLAIN_INITS: Final = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
# A pattern is a regular expression to PEFT and to the engine; a plain name takes no time that grows with its length.
_PLAIN_PATTERN: Final = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_LARGEST: Final = 1 << 20  # bytes; with a pattern for every module of the largest Llama it has 80 kB
_MOST_PATTERNS: Final = 2048  # 882 name each module of the largest Llama


def adapter_refused(message: str) -> RefusedError:
    """Return the refusal of an adapter that is whole and cannot be served."""
    return RefusedError(ReportReason.ADAPTER_REFUSED, message)


@dataclass(frozen=True)
class PeftConfig:
    """What adapter_config.json says of the matrices."""

    rank: int
    alpha: float
    use_rslora: bool
    base_model: str  # as training named it; empty where it did not
    rank_pattern: Mapping[str, int]  # end of a module's name -> its rank; the first that fits holds

    @property
    def highest_rank(self) -> int:
        """The rank that the engine must have room for."""
        return max((self.rank, *self.rank_pattern.values()))

    def rank_of(self, module: str) -> int:
        """Return the rank of a module, such as model.layers.7.self_attn.q_proj."""
        if not self.rank_pattern:
            return self.rank
        ends = (rank for end, rank in self.rank_pattern.items() if module == end or module.endswith(f".{end}"))
        return next(ends, self.rank)


def read_peft_config(folder: Folder) -> PeftConfig:
    """Read adapter_config.json. Raises RefusedError, naming the field, its value and the remedy."""
    size = folder.size(ADAPTER_CONFIG)
    if size > _LARGEST:
        raise adapter_refused(f"{ADAPTER_CONFIG} has {size} bytes, and no such file has more than {_LARGEST}")
    config = folder.read_json(ADAPTER_CONFIG)
    _check_features(config)
    for key, alpha in _patterns(config, "alpha_pattern").items():
        _alpha(alpha, f"alpha_pattern of {key}")
    base = config.get("base_model_name_or_path")
    return PeftConfig(
        rank=_rank(config.get("r"), "r"),
        alpha=_alpha(config.get("lora_alpha"), "lora_alpha"),
        use_rslora=config.get("use_rslora") is True,
        base_model=shown(base) if isinstance(base, str) else "",
        rank_pattern={
            key: _rank(rank, f"rank_pattern of {key}") for key, rank in _patterns(config, "rank_pattern").items()
        },
    )


def _is_plain_init(value: Any) -> bool:
    return not isinstance(value, str) or value.lower() in _PLAIN_INITS


def _is_unset(value: Any) -> bool:
    return not value


#: What a field may be, and why it may be nothing else.
_FEATURES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "use_dora": (_is_unset, "the engine adds the matrices of LoRA and knows no magnitudes of DoRA"),
    "use_qalora": (_is_unset, "the engine knows no QALoRA"),
    "use_bdlora": (_is_unset, "the engine knows no block-diagonal LoRA"),
    "bias": (lambda value: value in (None, "none"), "the engine adds no biases of an adapter"),
    "lora_bias": (_is_unset, "the engine adds no biases of an adapter"),
    "modules_to_save": (_is_unset, "these modules were trained whole, and the engine adds low-rank matrices only"),
    "trainable_token_indices": (_is_unset, "embeddings were trained, and the engine serves those of the base"),
    "alora_invocation_tokens": (_is_unset, "the engine knows no activated LoRA"),
    "layer_replication": (_is_unset, "the engine repeats no layers of the base"),
    "init_lora_weights": (_is_plain_init, "this start changes the weights of the base, which the engine does not do"),
}


def _check_features(config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise adapter_refused(
            f"{ADAPTER_CONFIG} has peft_type {shown(kind)}; only LORA is served: train with LoraConfig of PEFT, {MERGE}"
        )
    for key, (is_served, why) in _FEATURES.items():
        if not is_served(config.get(key)):
            raise adapter_refused(f"{ADAPTER_CONFIG} has {key} {shown(config[key])}: {why}; train without it, {MERGE}")
    if not isinstance(config.get("target_modules"), str | list):
        raise adapter_refused(f"{ADAPTER_CONFIG} has no target_modules: save the adapter again with PEFT")


def _rank(value: Any, field: str) -> int:
    if type(value) is not int or value < 1:
        raise adapter_refused(f"{ADAPTER_CONFIG}: {field} must be a whole number of at least 1 and is {shown(value)}")
    if value > ENGINE_RANKS[-1]:
        raise adapter_refused(
            f"{ADAPTER_CONFIG}: {field} is {value}, and the engine takes ranks up to {ENGINE_RANKS[-1]}: train with a "
            f"lower one, {MERGE}"
        )
    return value


def _alpha(value: Any, field: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise adapter_refused(f"{ADAPTER_CONFIG}: {field} must be a number and is {shown(value)}")
    return float(value)


def _patterns(config: Mapping[str, Any], field: str) -> dict[str, Any]:
    found = config.get(field) or {}
    if not isinstance(found, dict):
        raise adapter_refused(f"{ADAPTER_CONFIG}: {field} must be an object and is {shown(found)}")
    if len(found) > _MOST_PATTERNS:
        raise adapter_refused(
            f"{ADAPTER_CONFIG}: {field} has {len(found)} entries, and the largest Llama has fewer than "
            f"{_MOST_PATTERNS} modules: save the adapter again with PEFT"
        )
    strange = next((key for key in found if not _PLAIN_PATTERN.fullmatch(key)), None)
    if strange is not None:
        raise adapter_refused(
            f"{ADAPTER_CONFIG}: {field} names {shown(strange)}, a regular expression: name the modules plainly, such "
            "as layers.7.self_attn.q_proj"
        )
    return found
