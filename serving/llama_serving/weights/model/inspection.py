"""Inspects a model folder before any device is requested: can it be served, and how large is it?

Runs in a small pod without a device, on the standard library and pydantic. It reads config.json, the tokenizer's
config and the headers of the weights, never the weights; nothing from the folder is run. A refusal is a result, not
an error: it has a reason and a sentence that names the file and the remedy.
"""

from collections import Counter
from pathlib import Path
from typing import Final

from llama_serving.config.error_text import error_text
from llama_serving.config.model import ModelFacts, ModelReport, WeightsReport
from llama_serving.config.reasons import ReportReason
from llama_serving.weights.model.config import LlamaConfig, facts_from_config, read_config, refuse_code
from llama_serving.weights.model.errors import RefusedError, missing, refused, shown, shown_list, unreadable
from llama_serving.weights.model.folder import CONFIG, Folder, open_folder
from llama_serving.weights.model.safetensors import ModelHeaders, read_headers
from llama_serving.weights.model.tensor_names import check_names
from llama_serving.weights.model.weight_files import is_of_other_set, refuse_adapter

# The kubelet takes no more of a termination message.
REPORT_LIMIT: Final = 4096

_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model")
_TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_READ_BY_THE_ENGINE: Final = (".json", ".jinja", ".model")
_EMBEDDING: Final = "model.embed_tokens.weight"
_NORM: Final = "model.norm.weight"
_OUTPUT: Final = "lm_head.weight"
_LAYER: Final = "model.layers."
_DTYPES: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def inspect(path: Path) -> ModelReport:
    """Return the facts of the model in the folder ``path``, or why it is not served."""
    try:
        facts, _ = examine(open_folder(path))
    except RefusedError as refusal:
        return _refusal(refusal)
    except OSError as error:  # a volume that is stale or broken
        return _refusal(unreadable(f"{shown(error.filename or path)} cannot be read: {error_text(error)}"))
    return ModelReport(outcome="accepted", reason=ReportReason.ACCEPTED, message=summary(facts), facts=facts)


def _refusal(refusal: RefusedError) -> ModelReport:
    return ModelReport(outcome="refused", reason=refusal.reason, message=refusal.message)


def encode(report: ModelReport | WeightsReport) -> bytes:
    """Return the report as JSON of at most REPORT_LIMIT bytes; a message that is too long loses its end."""
    text = report.model_dump_json().encode()
    while len(text) > REPORT_LIMIT and report.message:
        # An escaped character takes six bytes, so this ends a little below the limit at most.
        kept = len(report.message) - max(1, (len(text) - REPORT_LIMIT) // 6)
        report = report.model_copy(update={"message": report.message[:kept]})
        text = report.model_dump_json().encode()
    return text


def examine(folder: Folder) -> tuple[ModelFacts, ModelHeaders]:
    """Return the facts of the model and the headers of its files. Raises RefusedError when it is not served."""
    _refuse_programs(folder)
    refuse_adapter(folder)
    config = read_config(folder)
    _check_tokenizer(folder)
    _check_readable(folder)
    weights = read_headers(folder)
    check_names(weights.tensors, layers=config.layers, quantized=bool(config.quantization))
    _check_complete(config, weights)
    dtype = config.dtype or _dtype(weights)
    facts = facts_from_config(config, dtype=dtype, files=weights.files, weights_bytes=weights.bytes)
    return facts, weights


def _refuse_programs(folder: Folder) -> None:
    programs = folder.ending(".py")
    if programs:
        raise refused(
            f"{shown(folder.location)} holds {shown_list(programs)}; a model with code of its own is not served, "
            "because no remote code is run: take the files out if the model is a plain Llama"
        )


def _check_tokenizer(folder: Folder) -> None:
    if not folder.names.intersection(_TOKENIZERS):
        raise missing(f"{shown(folder.location)} holds neither {' nor '.join(_TOKENIZERS)}: copy the tokenizer too")
    if _TOKENIZER_CONFIG in folder.names:
        refuse_code(_TOKENIZER_CONFIG, folder.read_json(_TOKENIZER_CONFIG))


def _check_readable(folder: Folder) -> None:
    """Open what the engine will open later, so that one unreadable small file does not cost a start."""
    for name in folder.ending(*_READ_BY_THE_ENGINE):
        if not is_of_other_set(name):
            folder.open(name).close()


def _check_complete(config: LlamaConfig, weights: ModelHeaders) -> None:
    """Check that the weights hold every layer of config.json; without an index, only this finds a lost file."""
    found = {name.removeprefix(_LAYER).partition(".")[0] for name in weights.tensors if name.startswith(_LAYER)}
    absent = [str(layer) for layer in range(config.layers) if str(layer) not in found]
    if absent:
        raise missing(
            f"{CONFIG} promises {config.layers} layers, the weights lack {len(absent)} of them "
            f"(layer {shown_list(absent)}): copy all *.safetensors files"
        )
    needed = [_EMBEDDING, _NORM] if config.tied_embeddings else [_EMBEDDING, _NORM, _OUTPUT]
    lacking = [name for name in needed if name not in weights.tensors]
    if lacking:
        raise missing(f"the weights lack {shown_list(lacking)}: copy all *.safetensors files")
    shape = weights.tensors[_EMBEDDING].shape
    if shape != (config.vocabulary, config.hidden_size):
        raise unreadable(
            f"{CONFIG} promises an embedding of {config.vocabulary} x {config.hidden_size}, the weights have "
            f"{_times(shape)}: config.json and the weights are of different models"
        )
    if not config.quantization:
        _check_shapes(config, weights)


def _check_shapes(config: LlamaConfig, weights: ModelHeaders) -> None:
    """Check the projections of every layer; how quantized ones are stored differs by method."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    expected = {
        "self_attn.q_proj": (queries, hidden), "self_attn.k_proj": (keys, hidden), "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }  # fmt: skip
    for name, tensor in weights.tensors.items():
        wanted = expected.get(name.removeprefix(_LAYER).partition(".")[2].removesuffix(".weight"))
        if wanted and name.endswith(".weight") and tensor.shape != wanted:
            raise unreadable(
                f"{CONFIG} promises {shown(name)} of {_times(wanted)}, the weights have {_times(tensor.shape)}: "
                "config.json and the weights are of different models"
            )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _dtype(weights: ModelHeaders) -> str:
    """Return the type that most bytes are in."""
    bytes_of: Counter[str] = Counter()
    for tensor in weights.tensors.values():
        bytes_of[tensor.dtype] += tensor.end - tensor.begin
    common = max(bytes_of, key=lambda dtype: bytes_of[dtype])
    return _DTYPES.get(common, common.lower())


def summary(facts: ModelFacts) -> str:
    """Return the facts as one clause."""
    quantized = f", quantized with {facts.quantization}" if facts.quantization else ""
    return (
        f"{facts.architecture} of {facts.layers} layers, {facts.heads} heads and {facts.kv_heads} KV heads, "
        f"{facts.dtype}{quantized}: {facts.bytes} bytes in {facts.files} files, context up to {facts.max_context}"
    )
