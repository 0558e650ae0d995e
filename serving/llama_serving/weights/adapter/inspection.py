"""Inspects a LoRA adapter without a device: can the engine serve it, and what must its base be?

It reads adapter_config.json, the header of adapter_model.safetensors and the small files of a tokenizer beside them.
The base is not known here, so only what must hold on every Llama is checked: each module has both of its matrices, of
one rank, and one shape in all layers. Shapes are compared with the base where both are known, in the operator.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from llama_serving.config.model import AdapterFacts, TargetModule
from llama_serving.weights.adapter.peft_config import MERGE, PeftConfig, adapter_refused, read_peft_config
from llama_serving.weights.adapter.tensor_names import MODULES, LoraTensor, lora_tensor
from llama_serving.weights.model.errors import RefusedError, missing, shown, shown_list
from llama_serving.weights.model.folder import CONFIG, Folder
from llama_serving.weights.model.limits import MOST_LAYERS
from llama_serving.weights.model.safetensors import Header, ModelHeaders, Tensor, read_header
from llama_serving.weights.model.weight_files import ADAPTER_CONFIG

WEIGHTS: Final = "adapter_model.safetensors"
#: Files beside an adapter that say which tokens its training knew. They are read, not served.
ADDED_TOKENS: Final = "added_tokens.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_PICKLES: Final = ("adapter_model.bin", "adapter_model.pt")
LARGEST_BESIDE: Final = 256 << 10  # bytes; tokenizer_config.json of Llama 3 has 55 kB
_NUMBER: Final = re.compile("[0-9]{1,9}")
_DTYPES: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_EMBEDDINGS: Final = ("embed_tokens", "lm_head")


def examine_adapter(folder: Folder) -> tuple[AdapterFacts, ModelHeaders]:
    """Return what the adapter is, and the header of its file. Raises RefusedError when it is not served."""
    _check_files(folder)
    config = read_peft_config(folder)
    header = read_header(folder, WEIGHTS)
    pairs = _pairs(header)
    modules, layers = _check_pairs(pairs, config)
    facts = AdapterFacts(
        rank=config.highest_rank,
        alpha=config.alpha,
        use_rslora=config.use_rslora,
        base_model=config.base_model,
        target_modules=modules,
        layers=layers,
        vocabulary=_vocabulary(folder),
        dtype=_dtype(header),
        tensors=len(header.tensors),
        bytes=sum(tensor.end - tensor.begin for tensor in header.tensors.values()),
    )
    return facts, ModelHeaders({WEIGHTS: header})


def adapter_summary(facts: AdapterFacts) -> str:
    """Return the facts as one clause."""
    names = ", ".join(module.name for module in facts.target_modules)
    base = f", trained on {facts.base_model}" if facts.base_model else ""
    scale = "rsLoRA, " if facts.use_rslora else ""
    return (
        f"LoRA of rank {facts.rank}, {scale}alpha {facts.alpha:g}, {facts.dtype}: {facts.tensors} tensors of {names} "
        f"in layers up to {facts.layers - 1}, {facts.bytes} bytes{base}"
    )


def _check_files(folder: Folder) -> None:
    location = shown(folder.location)
    if ADAPTER_CONFIG not in folder.names:
        whole = CONFIG in folder.names and bool(folder.ending(".safetensors"))
        remedy = (
            "it is a whole model, which a LlamaWeights names" if whole else "name the folder that save_pretrained wrote"
        )
        found = shown_list(sorted(folder.names)) or "nothing"
        raise missing(f"{location} holds no {ADAPTER_CONFIG} (it holds {found}): {remedy}")
    if WEIGHTS in folder.names:
        return
    pickles = sorted(folder.names.intersection(_PICKLES))
    if pickles:
        raise adapter_refused(
            f"the adapter is in {shown_list(pickles)}, a pickle, which can run code; only {WEIGHTS} is loaded: save it "
            "again with PEFT (save_pretrained with safe_serialization=True)"
        )
    raise missing(f"{location} holds no {WEIGHTS}: copy the whole adapter")


def _pairs(header: Header) -> dict[str, dict[str, tuple[LoraTensor, Tensor]]]:
    """Return the matrices by module and half. Raises RefusedError where a tensor is none of a Llama's."""
    pairs: defaultdict[str, dict[str, tuple[LoraTensor, Tensor]]] = defaultdict(dict)
    strange = []
    for name, tensor in header.tensors.items():
        found = lora_tensor(name)
        if found is None:
            strange.append(name)
        elif found.half in pairs[found.module]:
            raise adapter_refused(f"{WEIGHTS} has two matrices {found.half} of {found.module}: save it again with PEFT")
        else:
            pairs[found.module][found.half] = (found, tensor)
    if strange:
        raise _strange(sorted(strange))
    if not pairs:
        raise adapter_refused(f"{WEIGHTS} holds no tensors: save the adapter again with PEFT, after its training")
    return dict(pairs)


def _strange(names: list[str]) -> RefusedError:
    listed = shown_list(names, most=2)
    if any(part in name for name in names for part in _EMBEDDINGS):
        return adapter_refused(
            f"{WEIGHTS} holds {listed}: embeddings were trained too, or tokens added, and the engine serves those of "
            f"the base; train without {' and '.join(_EMBEDDINGS)} and with the base's vocabulary, {MERGE}"
        )
    if any("lora_magnitude_vector" in name for name in names):
        return adapter_refused(f"{WEIGHTS} holds {listed}, which DoRA adds: train with use_dora false, {MERGE}")
    return adapter_refused(
        f"{WEIGHTS} holds {listed}, which the engine has no place for: it adds lora_A and lora_B to "
        f"{', '.join(MODULES)} of a Llama's layers; train with target_modules among these, {MERGE}"
    )


def _check_pairs(
    pairs: Mapping[str, Mapping[str, tuple[LoraTensor, Tensor]]], config: PeftConfig
) -> tuple[tuple[TargetModule, ...], int]:
    """Return the shape of each kind of module, and how many layers the base must have. Raises RefusedError."""
    shapes: dict[str, tuple[int, int]] = {}
    layers = 0
    for module, halves in sorted(pairs.items()):
        if len(halves) < 2:
            raise adapter_refused(
                f"{WEIGHTS} holds only lora_{next(iter(halves))} of {module}: save the adapter again with PEFT"
            )
        found, shape = halves["A"][0], _shape(module, halves, rank=config.rank_of(module))
        if shapes.setdefault(found.name, shape) != shape:
            raise adapter_refused(
                f"{WEIGHTS} gives {module} {shape[0]} inputs and {shape[1]} outputs, and {found.name} of another layer "
                f"{shapes[found.name][0]} and {shapes[found.name][1]}: layers of a Llama are alike"
            )
        layers = max(layers, found.layer + 1)
        if layers > MOST_LAYERS:
            raise adapter_refused(f"{WEIGHTS} has a matrix of layer {found.layer}, a Llama has at most {MOST_LAYERS}")
    modules = (TargetModule(name=name, inputs=size[0], outputs=size[1]) for name, size in sorted(shapes.items()))
    return tuple(modules), layers


def _shape(module: str, halves: Mapping[str, tuple[LoraTensor, Tensor]], *, rank: int) -> tuple[int, int]:
    """Return inputs and outputs of a module. Raises RefusedError when its matrices do not fit each other."""
    first, second = halves["A"][1].shape, halves["B"][1].shape
    if len(first) != 2 or len(second) != 2 or first[0] != second[1] or 0 in (*first, *second):
        raise adapter_refused(
            f"{WEIGHTS} gives {module} lora_A of {_times(first)} and lora_B of {_times(second)}, which do not fit: "
            "they must be rank x inputs and outputs x rank; save the adapter again with PEFT"
        )
    if first[0] != rank:
        raise adapter_refused(
            f"{WEIGHTS} gives {module} the rank {first[0]}, {ADAPTER_CONFIG} says {rank}: the two files are of "
            "different adapters, copy both again"
        )
    return first[1], second[0]


def _times(shape: tuple[int, ...]) -> str:
    return shown(" x ".join(map(str, shape)) or "one number")


def _dtype(header: Header) -> str:
    found = {tensor.dtype for tensor in header.tensors.values()}
    strange = sorted(found - _DTYPES.keys())
    if strange:
        raise adapter_refused(
            f"{WEIGHTS} holds tensors of type {shown_list(strange)}; the engine takes {', '.join(_DTYPES)}: save the "
            "adapter in one of them"
        )
    return ", ".join(sorted(_DTYPES[one] for one in found))


def _vocabulary(folder: Folder) -> int:
    """Return one more than the highest token that the files beside the adapter name; 0 where they name none."""
    decoder = _beside(folder, TOKENIZER_CONFIG).get("added_tokens_decoder")
    named = (int(key) for key in decoder if _NUMBER.fullmatch(key)) if isinstance(decoder, dict) else ()
    added = (token for token in _beside(folder, ADDED_TOKENS).values() if type(token) is int and 0 <= token < 1 << 31)
    return max((*added, *named), default=-1) + 1


def _beside(folder: Folder, name: str) -> dict[str, Any]:
    """Return a small JSON file beside the adapter; an empty object where there is none."""
    if name not in folder.names:
        return {}
    if folder.size(name) > LARGEST_BESIDE:
        raise adapter_refused(
            f"{name} has {folder.size(name)} bytes, and which tokens it adds is read from at most {LARGEST_BESIDE}: "
            "take it out of the adapter's folder, the base's tokenizer is served"
        )
    return folder.read_json(name)
