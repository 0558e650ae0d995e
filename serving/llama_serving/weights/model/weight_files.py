"""Which safetensors files of a folder are its weights: those that the engine loads, and no other.

With model.safetensors.index.json: the files that it names. Without one the engine loads every file of the folder, so
only one set may be given to it: model.safetensors, or the numbered shards of one set. LoRA adapters, Mistral's
``consolidated*.safetensors`` and other copies beside them are left out. Where the engine reads the folder in place,
they cannot be left out, and the folder is refused: it would load all sets over each other. Source: vLLM 0.32,
``filter_duplicate_safetensors_files`` and ``DefaultModelLoader`` with ``load_format="safetensors"``.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from llama_serving.weights.model.errors import RefusedError, missing, refused, shown, shown_list
from llama_serving.weights.model.folder import CONFIG, Folder

INDEX: Final = "model.safetensors.index.json"
ADAPTER_CONFIG: Final = "adapter_config.json"
_WEIGHTS: Final = ".safetensors"
_OF_PEFT: Final = "adapter_"
_SINGLE: Final = "model.safetensors"
_SHARD: Final = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors")
_MODEL: Final = "model"
# Small files of the sets that are not loaded; the engine would take params.json for a model of Mistral's.
_OF_OTHER_SETS: Final = re.compile(r"params\.json|adapter_.*\.json|consolidated.*\.json|.*\.safetensors\.index\.json")
_OTHER_FORMATS: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".gguf")


def is_adapter(name: str) -> bool:
    """Return whether a file is one of a LoRA adapter, by the names that PEFT and diffusers give."""
    return name.startswith(_OF_PEFT) or name.endswith(("lora_weights.safetensors", "lora.safetensors"))


def is_of_other_set(name: str) -> bool:
    """Return whether a small file belongs to weights that are not loaded, so that it is not served either."""
    return name != INDEX and _OF_OTHER_SETS.fullmatch(name) is not None


def refuse_adapter(folder: Folder) -> None:
    """Refuse a folder that holds a LoRA adapter and no model."""
    adapter = [name for name in sorted(folder.names) if is_adapter(name)]
    weights = _not_of_peft(folder.ending(_WEIGHTS, ".bin", ".pth"))
    if adapter and (CONFIG not in folder.names or not (weights or INDEX in folder.names)):
        raise refused(
            f"{shown(folder.location)} is a LoRA adapter ({shown_list(adapter)}), no model: {_remedy(folder)}"
        )


def _not_of_peft(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(_OF_PEFT)]


def _remedy(folder: Folder) -> str:
    try:
        base = folder.read_json(ADAPTER_CONFIG).get("base_model_name_or_path") if ADAPTER_CONFIG in folder.names else ""
    except RefusedError:
        base = ""
    onto = shown(base) if isinstance(base, str) and base else "the model that it was trained on"
    return f"merge it into {onto} (merge_and_unload of PEFT), and name the folder of the result"


def weight_files(folder: Folder) -> list[str]:
    """Return the files that a folder without an index is loaded from, sorted.

    Raises:
        RefusedError: there is none, a shard is missing, or several sets could be meant.
    """
    found = folder.ending(_WEIGHTS)
    # A whole model may be named after the adapter that was merged into it; its tensors tell.
    chosen = _chosen(folder, [name for name in found if not is_adapter(name)] or _not_of_peft(found))
    if not chosen:
        raise _no_weights(folder)
    others = sorted(set(found) - set(chosen))
    if others and folder.read_in_place:
        raise _read_together(chosen, others)
    return chosen


def _chosen(folder: Folder, names: list[str]) -> list[str]:
    if _SINGLE in names:
        return [_SINGLE]
    sets = _shard_sets(names)
    if sets:
        return _whole(_one_set(folder, sets))
    return [name for name in names if not name.startswith("consolidated")]


def _shard_sets(names: Iterable[str]) -> dict[tuple[str, int], list[str]]:
    """Return the shards of each set, by the beginning of their names and their number."""
    sets: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for name in names:
        if (found := _SHARD.fullmatch(name)) and not name.startswith("consolidated"):
            sets[found["prefix"], int(found["total"])].append(name)
    return dict(sets)


def _one_set(folder: Folder, sets: dict[tuple[str, int], list[str]]) -> tuple[int, list[str]]:
    wanted = {key: names for key, names in sets.items() if key[0] == _MODEL} or sets
    if len(wanted) > 1:
        listed = shown_list([names[0] for names in wanted.values()])
        raise refused(
            f"{shown(folder.location)} holds {len(wanted)} sets of shards ({listed} begin them) and no {INDEX} that "
            "says which is loaded: leave one set in the folder"
        )
    (_, total), names = next(iter(wanted.items()))
    return total, names


def _whole(shards: tuple[int, list[str]]) -> list[str]:
    total, names = shards
    if len(names) != total:
        raise missing(
            f"{shown(names[0])} is one of {total} shards, {len(names)} are there: copy all *.safetensors files"
        )
    return sorted(names)


def _no_weights(folder: Folder) -> RefusedError:
    others = folder.ending(*_OTHER_FORMATS)
    if others:
        return refused(
            f"the weights are in {shown_list(others)}; only safetensors files are loaded, because the others can run "
            "code: convert the model, or take its safetensors files"
        )
    found = shown_list(sorted(folder.names))
    return missing(f"{shown(folder.location)} holds no *.safetensors file (it holds {found}): copy the model's weights")


def _read_together(chosen: list[str], others: list[str]) -> RefusedError:
    what = "a LoRA adapter" if all(map(is_adapter, others)) else "other weights"
    return refused(
        f"{shown_list(others)} beside {shown_list(chosen)} is {what}, and the engine, which reads this folder in "
        f"place, would load both: move it into another folder, or add {INDEX}, which names the files that are loaded"
    )
