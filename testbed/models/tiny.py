"""A tiny random Llama checkpoint with tokenizer and chat template: ``python -m testbed.models.tiny OUT``.

For tests and for trying a cell out where the text does not matter. Same seed, same bytes. 2.9 million parameters in
float32, 11.5 MB. Needs the serving environment.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

from testbed.models.readable import make_readable

_SPECIAL: Final = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|pad|>",
)
_BEGIN, _END_OF_TURN, _PAD = 0, 4, 5
_VOCABULARY: Final = 1024  # at most; the corpus may give fewer merges
_CONTEXT: Final = 2048
_LAYERS: Final = 4
_HEADS: Final = 4
_KV_HEADS: Final = 2
# As in the config.json of Llama 3.1.
_SCALED: Final = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}
_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# What the tokenizer's merges are learned from; any fixed English text does.
_CORPUS: Final = (
    "A group is one replica of a model over several pods. A stage is one step of its pipeline and one pod. "
    "The first stage is the leader: it starts the cluster, waits for the others, and serves the model. "
    "Requests wait in the gateway, which sends each to the group with the fewest running requests. "
) * 20


def make(out: Path, *, seed: int, context: int = _CONTEXT, layers: int = _LAYERS, heads: int = _HEADS) -> None:
    """Write the checkpoint into ``out``, which is made where it is missing; files are readable for everyone.

    ``context`` in tokens; one that is longer than usual is reached by scaling as Llama 3.1 does it.
    """
    import torch
    from transformers import GenerationConfig, LlamaForCausalLM

    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(context)
    tokenizer.save_pretrained(out)
    torch.manual_seed(seed)
    config = _config(vocabulary=len(tokenizer), context=context, layers=layers, heads=heads)
    model = LlamaForCausalLM(config).to(torch.float32)
    model.generation_config = GenerationConfig(bos_token_id=_BEGIN, eos_token_id=_END_OF_TURN, pad_token_id=_PAD)
    model.save_pretrained(out)
    make_readable(out)


def _config(*, vocabulary: int, context: int, layers: int, heads: int) -> "LlamaConfig":
    from transformers import LlamaConfig

    scaled: dict[str, Any] = {} if context == _CONTEXT else {"rope_parameters": dict(_SCALED)}
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=min(heads, _KV_HEADS),
        head_dim=64,
        max_position_embeddings=context,
        bos_token_id=_BEGIN,
        eos_token_id=_END_OF_TURN,
        pad_token_id=_PAD,
        tie_word_embeddings=False,
        initializer_range=0.2,  # ten times the usual: random weights then give varied tokens
        dtype="float32",
        **scaled,
    )


def _tokenizer(context: int) -> "PreTrainedTokenizerFast":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([_CORPUS], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=_SPECIAL[_BEGIN],
        eos_token=_SPECIAL[_END_OF_TURN],
        pad_token=_SPECIAL[_PAD],
        model_max_length=context,
    )
    fast.chat_template = _TEMPLATE
    return fast


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m testbed.models.tiny", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the checkpoint")
    parser.add_argument("--seed", type=int, default=1, help="weights differ by seed (default 1)")
    options = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    make(options.out, seed=options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
