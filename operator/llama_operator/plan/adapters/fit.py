"""Whether a LoRA adapter fits a base: its shapes against those of the model, before anything is brought into a pod.

With hidden size h, n heads and k KV heads of width d, and an MLP of width m, the modules of a layer take and give

    q_proj  h -> n d     o_proj  n d -> h     gate_proj, up_proj  h -> m
    k_proj, v_proj  h -> k d                  down_proj           m -> h

Source: transformers 5, ``LlamaAttention`` and ``LlamaMLP``.
"""

from llama_operator.plan.sentences import adapters as sentences
from llama_serving.config.model import AdapterFacts, ModelFacts


def misfit(adapter: AdapterFacts, base: ModelFacts) -> str:
    """Return why the adapter cannot be added to this base; empty where it can."""
    if adapter.layers > base.layers:
        return sentences.too_few_layers(layers=adapter.layers, base=base.layers)
    if adapter.vocabulary > base.vocabulary:
        return sentences.other_vocabulary(tokens=adapter.vocabulary, base=base.vocabulary)
    widths = module_widths(base)
    for module in adapter.target_modules:
        inputs, outputs = widths.get(module.name, (0, 0))
        rank = adapter.rank
        if inputs and module.inputs != inputs:
            return sentences.other_shape(module.name, half="A", has=(rank, module.inputs), wants=(rank, inputs))
        if outputs and module.outputs != outputs:
            return sentences.other_shape(module.name, half="B", has=(module.outputs, rank), wants=(outputs, rank))
    return ""


def module_widths(base: ModelFacts) -> dict[str, tuple[int, int]]:
    """Return inputs and outputs of each module; 0 where an older resolver did not say the width of the MLP."""
    hidden, inner = base.hidden_size, base.intermediate_size
    queries, keys = base.heads * base.head_dim, base.kv_heads * base.head_dim
    return {
        "q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys), "o_proj": (queries, hidden),
        "gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden),
    }  # fmt: skip


def adapter_bytes(base: ModelFacts, *, rank: int) -> int:
    """Return the bytes of an adapter of all modules: rank * (inputs + outputs) numbers of two bytes for each."""
    return 2 * rank * base.layers * sum(inputs + outputs for inputs, outputs in module_widths(base).values())
