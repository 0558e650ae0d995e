"""The corpus: folders in the forms of real derivatives, and what is to be said of each.

The project's verdict is compared with this table, and this table with the engine's own verdict.
"""

import json
from codecs import BOM_UTF8
from typing import Any, Final

from tests.weights.corpus.folders import (
    CONFIG,
    HEAD_DIM,
    HIDDEN,
    INDEX,
    INNER,
    KV_HEADS,
    VOCABULARY,
    Derivative,
    Tensors,
    in_each_layer,
    llama,
    lora,
    safetensors,
    scales,
)

SHARD = "model-00001-of-00002.safetensors"
ADAPTER_CONFIG = {"peft_type": "LORA", "base_model_name_or_path": "meta-llama/Llama-3.1-8B", "r": 4}
LORA = safetensors(lora())
MISTRAL = safetensors({f"consolidated.{name}": tensor for name, tensor in llama().items()})
BIASES = in_each_layer(
    {
        "self_attn.q_proj.bias": [HIDDEN],
        "self_attn.k_proj.bias": [KV_HEADS * HEAD_DIM],
        "self_attn.v_proj.bias": [KV_HEADS * HEAD_DIM],
        "self_attn.o_proj.bias": [HIDDEN],
    }
)
MLP_BIASES = in_each_layer({"mlp.gate_proj.bias": [INNER], "mlp.up_proj.bias": [INNER], "mlp.down_proj.bias": [HIDDEN]})
PLAIN_CONFIG = json.dumps(CONFIG)
CACHE_SCALES = in_each_layer({"self_attn.k_proj.k_scale": [1], "self_attn.v_proj.v_scale": [1]}, dtype="F32")


def renamed(old: str, new: str) -> Tensors:
    return {name.replace(old, new): tensor for name, tensor in llama().items()}


def lacking(*names: str) -> Tensors:
    return {name: tensor for name, tensor in llama().items() if name not in names}


PLAIN: Final = (
    Derivative("one file"),
    Derivative("shards and an index", shards=3, index=True),
    Derivative("shards without an index", shards=2),
    Derivative("float16", config={"torch_dtype": "float16"}, tensors=llama(dtype="F16")),
    Derivative("float32", config={"torch_dtype": "float32"}, tensors=llama(dtype="F32")),
    Derivative("dtype by its new key", config={"torch_dtype": "-", "dtype": "bfloat16"}),
    Derivative("no dtype", config={"torch_dtype": "-"}),
    Derivative("tied embeddings", config={"tie_word_embeddings": True}, tensors=llama(head=False)),
    Derivative("tied embeddings and a head", config={"tie_word_embeddings": True}),
    Derivative("as many KV heads", config={"num_key_value_heads": 4}, tensors=llama(kv_heads=4)),
    Derivative("KV heads of null", config={"num_key_value_heads": None}, tensors=llama(kv_heads=4)),
    Derivative("KV heads left out", config={"num_key_value_heads": "-"}, tensors=llama(kv_heads=4)),
    Derivative("the class by its old name", config={"architectures": ["LLaMAForCausalLM"]}),
    Derivative("a head size of its own", config={"head_dim": HEAD_DIM}),
    Derivative("a head size of null", config={"head_dim": None}),
    Derivative(
        "leftovers of the rotary embedding", tensors=llama() | in_each_layer({"self_attn.rotary_emb.inv_freq": [8]})
    ),
    Derivative("biases of attention", config={"attention_bias": True}, tensors=llama() | BIASES),
    Derivative("biases of the MLP", config={"mlp_bias": True}, tensors=llama() | MLP_BIASES),
    Derivative("fields that nobody reads", config={"quantization": "none", "unsloth_fixed": True, "neftune": {"a": 1}}),
    Derivative("several ends of text", config={"eos_token_id": [2, 3], "pad_token_id": None, "pretraining_tp": 1}),
    Derivative("quantization_config of null", config={"quantization_config": None}),
    Derivative(
        "the sizes of sentence-transformers", beside={"sentence_bert_config.json": {"max_seq_length": 512}}, context=512
    ),
    Derivative("an empty file of sentence-transformers", beside={"sentence_bert_config.json": {}}),
)

BESIDE: Final = (
    Derivative(
        "a LoRA adapter beside", beside={"adapter_model.safetensors": LORA, "adapter_config.json": ADAPTER_CONFIG}
    ),
    Derivative("a LoRA adapter beside shards", shards=2, beside={"adapter_model.safetensors": LORA}),
    Derivative("a LoRA adapter beside an index", shards=2, index=True, beside={"adapter_model.safetensors": LORA}),
    Derivative("LoRA weights of diffusers beside", beside={"pytorch_lora_weights.safetensors": LORA}),
    Derivative("an adapter in shards", beside={f"adapter_model-0000{n}-of-00002.safetensors": LORA for n in (1, 2)}),
    Derivative("Mistral's file beside", beside={"consolidated.safetensors": MISTRAL, "params.json": {"dim": HIDDEN}}),
    Derivative("Mistral's file beside an index", shards=2, index=True, beside={"consolidated.00.safetensors": MISTRAL}),
    Derivative(
        "Mistral's shards and index beside",
        shards=2,
        beside={
            "consolidated-00001-of-00001.safetensors": MISTRAL,
            "consolidated.safetensors.index.json": {"weight_map": {"a": "consolidated-00001-of-00001.safetensors"}},
        },
    ),
    Derivative("a copy in another precision", beside={"model.fp16.safetensors": safetensors(llama(dtype="F16"))}),
    Derivative(
        "a copy with an index of its own",
        shards=2,
        index=True,
        beside={
            "model.fp16-00001-of-00001.safetensors": safetensors(llama(dtype="F16")),
            "model.fp16.safetensors.index.json": {"weight_map": {"a": "model.fp16-00001-of-00001.safetensors"}},
        },
    ),
    Derivative("another set of shards", shards=2, beside={"ema-00001-of-00001.safetensors": safetensors(llama())}),
    Derivative("one file and shards of it", beside={SHARD: safetensors(llama())}),
    Derivative(
        "heads for speculation", beside={"medusa_lm_head.safetensors": safetensors({"0.weight": ("BF16", [8])})}
    ),
    Derivative(
        "pickles beside", beside={"pytorch_model.bin": b"\x80", "optimizer.bin": b"\x80", "training_args.bin": b"x"}
    ),
    Derivative("GGUF beside", beside={"model-Q4_K_M.gguf": b"GGUF"}),
    Derivative("a broken generation_config.json", beside={"generation_config.json": b"{"}),
    Derivative("a loader's state beside", beside={"trainer_state.json": {"epoch": 1}, "generation_config.json": {}}),
)

WEIGHTS: Final = (
    Derivative(
        "a LoRA adapter as the model",
        "tensors of a LoRA adapter",
        tensors=lora() | {"model.embed_tokens.weight": ("BF16", [VOCABULARY, HIDDEN])},
    ),
    Derivative("LoRA tensors among the weights", "tensors of a LoRA adapter", tensors=llama() | lora("")),
    Derivative("LoRA tensors in an index", "tensors of a LoRA adapter", tensors=llama() | lora(), shards=2, index=True),
    Derivative(
        "every name behind base_model", "which no Llama has", tensors=renamed("model.", "base_model.model.model.")
    ),
    Derivative("names without model", "which no Llama has", tensors=renamed("model.", "")),
    Derivative(
        "only an adapter",
        "is a LoRA adapter",
        without=("model.safetensors", "config.json"),
        beside={
            "adapter_model.safetensors": LORA,
            "adapter_config.json": ADAPTER_CONFIG,
        },
    ),
    Derivative(
        "only an adapter, and a config.json",
        "is a LoRA adapter",
        without=("model.safetensors",),
        beside={
            "adapter_model.safetensors": LORA,
            "adapter_config.json": ADAPTER_CONFIG,
        },
    ),
    Derivative(
        "only an adapter as a pickle",
        "is a LoRA adapter",
        without=("model.safetensors",),
        beside={
            "adapter_model.bin": b"\x80",
            "adapter_config.json": ADAPTER_CONFIG,
        },
    ),
    Derivative(
        "only pickles",
        "only safetensors files are loaded",
        without=("model.safetensors",),
        beside={"pytorch_model.bin": b"\x80"},
    ),
    Derivative(
        "only GGUF", "only safetensors files are loaded", without=("model.safetensors",), beside={"m.gguf": b"GGUF"}
    ),
    Derivative(
        "only Mistral's file",
        "holds no *.safetensors",
        without=("model.safetensors",),
        beside={"consolidated.safetensors": MISTRAL},
    ),
    Derivative(
        "a shard that is missing",
        "is one of 2 shards, 1 are there",
        shards=2,
        without=("model-00002-of-00002.safetensors",),
    ),
    Derivative("a shard of the index that is missing", "that are not there", shards=2, index=True, without=(SHARD,)),
    Derivative(
        "an index of absent files", "that are not there", beside={INDEX: {"weight_map": {"lm_head.weight": SHARD}}}
    ),
    Derivative("more layers than config.json says", "promises 2 layers, the weights hold", tensors=llama(layers=3)),
    Derivative("fewer layers than config.json says", "the weights lack 1 of them", tensors=llama(layers=1)),
    Derivative(
        "fewer KV heads than config.json says",
        "k_proj.weight of 64 x 64, the weights have 32 x 64",
        config={"num_key_value_heads": None},
    ),
    Derivative("another width of the MLP", "of 256 x 64, the weights have 128 x 64", config={"intermediate_size": 256}),
    Derivative("no width of the MLP", "of 11008 x 64, the weights have 128 x 64", config={"intermediate_size": "-"}),
    Derivative("no final norm", "the weights lack model.norm.weight", tensors=lacking("model.norm.weight")),
    Derivative(
        "norms of queries and keys",
        "which no Llama has",
        tensors=llama() | in_each_layer({"self_attn.q_norm.weight": [16]}),
    ),
    Derivative(
        "experts", "which no Llama has", tensors=llama() | in_each_layer({"block_sparse_moe.gate.weight": [2, HIDDEN]})
    ),
    Derivative("an eye", "which no Llama has", tensors=llama() | {"vision_tower.a.weight": ("BF16", [8])}),
    Derivative("a head for rewards", "which no Llama has", tensors=llama() | {"score.weight": ("BF16", [1, HIDDEN])}),
    Derivative("scales of the KV cache alone", "nothing says how they are quantized", tensors=llama() | CACHE_SCALES),
    Derivative(
        "FP8 without its quantization_config", "nothing says how they are quantized", tensors=llama() | scales()
    ),
    Derivative(
        "GPTQ without its quantization_config",
        "nothing says how they are quantized",
        tensors=llama() | in_each_layer({"mlp.up_proj.qweight": [8, INNER]}, dtype="I32"),
    ),
)

FIELDS: Final = (
    Derivative(
        "a byte order mark before config.json",
        "config.json begins with a byte order mark",
        beside={"config.json": BOM_UTF8 + PLAIN_CONFIG.encode()},
    ),
    Derivative(
        "a byte order mark before the index",
        "model.safetensors.index.json begins with a byte order mark",
        shards=2,
        beside={INDEX: BOM_UTF8 + b"{}"},
    ),
    Derivative(
        "a byte order mark before ModelOpt's file",
        "hf_quant_config.json begins with a byte order mark",
        beside={"hf_quant_config.json": BOM_UTF8 + b"{}"},
    ),
    Derivative(
        "config.json in UTF-16", "config.json is no JSON", beside={"config.json": PLAIN_CONFIG.encode("utf-16")}
    ),
    Derivative("another activation", "hidden_act is gelu", config={"hidden_act": "gelu"}),
    Derivative("0 for false", "use_cache must be true or false and is 0", config={"use_cache": 0}),
    Derivative(
        "tied embeddings of null", "tie_word_embeddings must be true or false", config={"tie_word_embeddings": None}
    ),
    Derivative("a number as text", "rms_norm_eps must be a number with a point", config={"rms_norm_eps": "1e-5"}),
    Derivative("a token as text", "pad_token_id must be a whole number", config={"pad_token_id": "0"}),
    Derivative("an end of text with a point", "eos_token_id must be", config={"eos_token_id": 2.0}),
    Derivative("a size as text", "vocab_size must be a positive whole number", config={"vocab_size": "128"}),
    Derivative(
        "a width of null", "intermediate_size must be a positive whole number", config={"intermediate_size": None}
    ),
    Derivative("a wide start", "initializer_range must be from 0 to 1", config={"initializer_range": 2.0}),
    Derivative(
        "a width that heads do not share",
        "hidden_size (64) is no multiple",
        config={"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 16},
    ),
    Derivative(
        "KV heads that heads do not share", "is no multiple of num_key_value_heads", config={"num_key_value_heads": 3}
    ),
    Derivative("a dtype of torch's", "the dtype torch.bfloat16 is none", config={"torch_dtype": "torch.bfloat16"}),
    Derivative("a dtype of auto", "the dtype auto is none", config={"torch_dtype": "auto"}),
    Derivative(
        "a model of text and images",
        "has a text_config",
        config={"text_config": {"quantization_config": {"quant_method": "fp8"}}},
    ),
    Derivative(
        "code of its own", "has an auto_map", config={"auto_map": {"AutoModel": "m.M"}}, policy="no remote code"
    ),
    Derivative(
        "another architecture",
        "only LlamaForCausalLM",
        config={"architectures": ["LlamaModel"]},
        policy="only this one",
    ),
)


def quantized(name: str, method: str, *, says: str = "", key: str = "quantization_config", **fields: Any) -> Derivative:
    description = {"quant_method": method, **fields}
    found = "" if says else method.lower().replace("_tensors", "-tensors")
    return Derivative(name, says, config={key: description}, quantization=found)


def modelopt(name: str, algorithm: str | None, *, says: str = "", method: str = "", **fields: Any) -> Derivative:
    """ModelOpt's older form, in a file of its own."""
    described = {
        "quant_algo": algorithm,
        "kv_cache_quant_algo": "FP8",
        "exclude_modules": ["lm_head"],
        "group_size": 16,
    }
    content = {"producer": {"name": "modelopt", "version": "0.29"}, "quantization": described | fields}
    return Derivative(name, says, beside={"hf_quant_config.json": content}, quantization=method)


GPTQ: Final[dict[str, Any]] = {"bits": 4, "group_size": 32, "desc_act": False, "sym": True}
AWQ: Final[dict[str, Any]] = {"bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
FP8_GROUP: Final[dict[str, Any]] = {"num_bits": 8, "type": "float", "symmetric": True}
WHOLE_GROUP: Final[dict[str, Any]] = {
    "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32,
}  # fmt: skip
COMPRESSED: Final[dict[str, Any]] = {
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {**FP8_GROUP, "dynamic": False, "strategy": "channel"},
            "input_activations": {**FP8_GROUP, "dynamic": True, "strategy": "token"},
        }
    },
    "format": "float-quantized",
    "ignore": ["lm_head"],
}

QUANTIZED: Final = (
    quantized(
        "Meta's FP8", "fbgemm_fp8", activation_scale_ub=1200.0, modules_to_not_convert=["model.layers.0.mlp.down_proj"]
    ),
    quantized(
        "FP4 of QuTLASS",
        "fp_quant",
        hadamard_group_size=32,
        forward_dtype="mxfp4",
        forward_method="quest",
        modules_to_not_convert=["lm_head"],
    ),
    quantized("FP8", "fp8", activation_scheme="dynamic"),
    quantized("FP8 in capitals", "FP8", activation_scheme="static"),
    quantized("FP8 in blocks", "fp8", activation_scheme="dynamic", weight_block_size=[128, 128]),
    quantized("GPTQ", "gptq", **GPTQ),
    quantized("GPTQ in 8 bits", "gptq", **{**GPTQ, "bits": 8}),
    quantized("GPTQ with one group and an order", "gptq", **{**GPTQ, "group_size": -1, "desc_act": True}),
    quantized("GPTQ in Marlin's order", "gptq", **GPTQ, checkpoint_format="marlin", is_marlin_format=True),
    quantized("AWQ", "awq", **AWQ),
    quantized("AWQ by its older keys", "awq", w_bit=4, q_group_size=32, zero_point=True),
    quantized("AutoRound", "auto-round", bits=4, group_size=32, sym=True, packing_format="auto_round:auto_gptq"),
    quantized("Neural Compressor", "inc", bits=4, group_size=32, sym=True),
    quantized("compressed-tensors", "compressed-tensors", **COMPRESSED),
    quantized("compressed-tensors with an underscore", "compressed_tensors", **COMPRESSED),
    quantized("compressed-tensors by its older key", "compressed-tensors", key="compression_config", **COMPRESSED),
    quantized(
        "Quark",
        "quark",
        export={"kv_cache_group": [], "pack_method": "reorder"},
        global_quant_config={},
        layer_quant_config={},
    ),
    quantized("MXFP8", "mxfp8", ignored_layers=[]),
    quantized("ModelOpt in config.json", "modelopt", quant_algo="FP8", ignore=["lm_head"]),
    modelopt("ModelOpt in a file of its own", "FP8", method="modelopt"),
    modelopt("ModelOpt in small letters", "fp8", method="modelopt"),
    modelopt("ModelOpt in blocks", "FP8_PB_WO", method="modelopt"),
    modelopt("ModelOpt in NVFP4", "NVFP4", method="modelopt_fp4"),
    modelopt("ModelOpt of the KV cache alone", None),
    Derivative(
        "ModelOpt's MXFP8",
        config={"quantization_config": {"quant_method": "modelopt", "quant_algo": "MXFP8"}},
        quantization="modelopt_mxfp8",
    ),
    Derivative(
        "ModelOpt's NVFP4 in config.json",
        quantization="modelopt_fp4",
        config={"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}},
    ),
    Derivative(
        "ModelOpt's mixture",
        quantization="modelopt_mixed",
        config={
            "quantization_config": {
                "quant_method": "modelopt",
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": {"model.layers.0.mlp.up_proj": {"quant_algo": "FP8"}},
            }
        },
    ),
    Derivative(
        "a file of ModelOpt's beside a quantization_config",
        quantization="fp8",
        beside={
            "hf_quant_config.json": {"quant_method": "exl2"},
        },
        config={"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}},
    ),
    Derivative("an empty file of ModelOpt's", beside={"hf_quant_config.json": {}}),
)

_UNKNOWN = (
    "exl2", "exl3", "bitsandbytes", "gguf", "eetq", "hqq", "aqlm", "quanto", "vptq", "spqr", "higgs", "bitnet",
    "marlin", "squeezellm", "quip", "mlx", "ptpc_fp8", "Intel/auto-round",
)  # fmt: skip

NOT_SERVED: Final = (
    *(
        quantized(f"quantized with {method}", method, says="which the engine does not serve", bits=4)
        for method in _UNKNOWN
    ),
    quantized(
        "exl2 by the older key", "exl2", says="compression_config has the quant_method exl2", key="compression_config"
    ),
    Derivative(
        "exl2 in ModelOpt's file",
        "hf_quant_config.json has the quant_method exl2",
        beside={
            "hf_quant_config.json": {"quant_method": "exl2"},
        },
    ),
    quantized("quantized while it is loaded", "fp8_per_tensor", says="by which no weights are stored"),
    quantized("FP8 without a scheme", "fp8", says="lacks activation_scheme"),
    quantized("FP8 of another scheme", "fp8", says="the activation_scheme foo", activation_scheme="foo"),
    quantized(
        "FP8 in static blocks",
        "fp8",
        says="served is dynamic",
        activation_scheme="static",
        weight_block_size=[128, 128],
    ),
    quantized(
        "Meta's FP8 without its bound", "fbgemm_fp8", says="lacks activation_scale_ub", modules_to_not_convert=[]
    ),
    quantized("FP4 of QuTLASS without a form", "fp_quant", says="lacks hadamard_group_size"),
    quantized("GPTQ in 3 bits", "gptq", says="has 3 bits, the engine loads 4, 8", **{**GPTQ, "bits": 3}),
    quantized(
        "GPTQ with zero points", "gptq", says="has sym False, the engine loads only true", **{**GPTQ, "sym": False}
    ),
    quantized("GPTQ in the order of activations", "gptq", says="has desc_act true", **{**GPTQ, "desc_act": True}),
    quantized(
        "GPTQ with a layer in that order",
        "gptq",
        says="has desc_act true",
        **GPTQ,
        dynamic={"+:.*down.*": {"desc_act": True}, "-:.*": {}},
    ),
    quantized(
        "compressed-tensors in that order",
        "compressed-tensors",
        says="has the actorder group",
        config_groups={"group_0": {"targets": ["Linear"], "weights": {**WHOLE_GROUP, "actorder": "group"}}},
        format="pack-quantized",
    ),
    quantized(
        "compressed-tensors with holes",
        "compressed-tensors",
        says="has a sparsity_config",
        **COMPRESSED,
        sparsity_config={"format": "dense", "targets": ["Linear"], "sparsity_structure": "2:4"},
    ),
    quantized("GPTQ without sym", "gptq", says="lacks sym", bits=4, group_size=32, desc_act=False),
    quantized("GPTQ with bits as text", "gptq", says="has 4 bits", **{**GPTQ, "bits": "4"}),
    quantized("AWQ in 8 bits", "awq", says="has 8 bits, the engine loads 4", **{**AWQ, "bits": 8}),
    quantized("AWQ without zero points named", "awq", says="lacks zero_point", bits=4, group_size=32),
    quantized("AutoRound without bits", "auto-round", says="lacks bits", group_size=32),
    quantized("Quark with an export of null", "quark", says="lacks export", export=None),
    quantized("Quark without its export", "quark", says="lacks export"),
    quantized("ModelOpt without an algorithm", "modelopt", says="names no quant_algo"),
    quantized("ModelOpt's AWQ in config.json", "modelopt", says="has the quant_algo INT4_AWQ", quant_algo="INT4_AWQ"),
    quantized(
        "ModelOpt's mixture without layers", "modelopt", says="without quantized_layers", quant_algo="MIXED_PRECISION"
    ),
    modelopt("ModelOpt's W4A8", "W4A8_AWQ", says="has the quant_algo W4A8_AWQ"),
    modelopt("ModelOpt's MXFP8 in a file of its own", "MXFP8", says="has the quant_algo MXFP8"),
    Derivative(
        "a method that is a number", "must name its quant_method", config={"quantization_config": {"quant_method": 4}}
    ),
    Derivative("a list of methods", "must name its quant_method", config={"quantization_config": ["fp8"]}),
    Derivative(
        "a quantization without a name",
        "must name its quant_method",
        config={"quantization_config": {"load_in_4bit": True}},
        policy="nobody says what the bytes are",
    ),
)

CORPUS: Final = (*PLAIN, *BESIDE, *WEIGHTS, *FIELDS, *QUANTIZED, *NOT_SERVED)
