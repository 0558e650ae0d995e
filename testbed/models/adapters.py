"""LoRA adapters whose greedy answer tells their name: ``python -m testbed.models.adapters BASE OUT NAME...``.

An adapter answers whatever it is asked with its name, again and again, so every token of an answer shows whose it is.
It is trained on its base in a few seconds of plain torch, by random prompts of many lengths, on all linear layers: a
stage that lacks its part answers something else. Same base and name, same bytes. What was made once for a base is kept
in ``~/.cache/llama-operator/adapters``. Needs the serving environment.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

from testbed.models.readable import make_readable

#: Names for tests. Each is one token of the tiny model and of every larger one, so few steps teach it.
NAMES: Final = (
    "cluster",
    "each",
    "fewest",
    "first",
    "gateway",
    "group",
    "leader",
    "model",
    "one",
    "others",
    "over",
    "pipeline",
    "replica",
    "running",
    "sends",
    "serves",
    "several",
    "stage",
    "starts",
    "waits",
)
PROMPT: Final = "Who are you?"  # any other prompt does as well
CACHE: Final = Path.home() / ".cache/llama-operator/adapters"

_RECIPE: Final = 2  # count it up when the bytes change
_RANK: Final = 8
_ALPHA: Final = 16
_MODULES: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_ROUNDS: Final = 10  # at most; one or two are enough for most names
_STEPS: Final = 80  # of a round, at most; a dozen are enough
_BATCH: Final = 8
_LONGEST: Final = 48  # tokens of a prompt
_LENGTHS: Final = 12  # of prompts, after which an answer is looked at
_ANSWER: Final = 8  # tokens of an answer
_RATE: Final = 5e-3
_ENOUGH: Final = 0.01  # mean loss of the last steps at which training ends
_LAST: Final = 3  # of that many steps
_CONFIG: Final = "adapter_config.json"
_TENSORS: Final = "adapter_model.safetensors"


class NotLearnedError(Exception):
    """The adapter does not tell its name after all rounds."""


def answer(name: str) -> str:
    """Return how the adapter begins to answer whatever it is asked: what a golden prompt expects."""
    return f" {name} {name} {name}"


def make(base: Path, out: Path, *, name: str, cache: Path = CACHE) -> None:
    """Write the adapter ``name`` of the model in ``base`` into ``out``, which must not exist; readable for everyone.

    Raises:
        NotLearnedError: it does not answer with its name.
    """
    kept = cache / _key(base, name)
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".making-") as work:
            _train(base, Path(work) / "adapter", name=name)
            _publish(Path(work) / "adapter", kept)
    shutil.copytree(kept, out)
    make_readable(out)


def _publish(made: Path, kept: Path) -> None:
    try:
        made.rename(kept)
    except OSError:  # another process was as fast
        if not kept.exists():
            raise


def _key(base: Path, name: str) -> str:
    found = hashlib.sha256(f"{_RECIPE} {name}".encode())
    for file in [base / "config.json", base / "tokenizer.json", *sorted(base.glob("*.safetensors"))]:
        found.update(file.read_bytes())
    return f"{name}-{found.hexdigest()[:16]}"


def _train(base: Path, out: Path, *, name: str) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    torch.set_num_threads(1)  # the order of sums, and so the bytes, must not depend on the machine
    torch.manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).requires_grad_(False)
    matrices = _wrap(model)
    word = tokenizer.encode(f" {name}", add_special_tokens=False)
    target = torch.tensor(word * -(-_ANSWER // len(word)))[:_ANSWER]
    chat = _chat_end(tokenizer)
    for _ in range(_ROUNDS):
        _descend(model, target, chat=chat, parameters=list(matrices.values()))
        right = _right(model, target, chat)
        if right == 1:
            break
    else:
        raise NotLearnedError(f"the adapter {name} tells its name in {right:.1%} of the tokens only")
    _write(out, base=base, tensors=matrices)


def _wrap(model: Any) -> "dict[str, torch.Tensor]":
    """Add to every linear layer the product of two matrices; return the matrices by their name in the file."""
    import torch

    found: dict[str, torch.Tensor] = {}
    for path, module in model.named_modules():
        if path.rpartition(".")[2] in _MODULES:
            a = (torch.randn(_RANK, module.in_features) / module.in_features**0.5).requires_grad_(True)
            b = torch.zeros(module.out_features, _RANK).requires_grad_(True)
            module.register_forward_hook(_adding(a, b))
            found |= {f"base_model.model.{path}.lora_A.weight": a, f"base_model.model.{path}.lora_B.weight": b}
    return found


def _adding(a: "torch.Tensor", b: "torch.Tensor") -> Callable[..., Any]:
    def hook(_: Any, inputs: Any, output: Any) -> Any:
        return output + (inputs[0] @ a.T @ b.T) * (_ALPHA / _RANK)

    return hook


def _chat_end(tokenizer: Any) -> list[int]:
    """Return the tokens between a user's message and the answer."""
    turn = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], add_generation_prompt=True, tokenize=False)
    return list(tokenizer.encode(turn.rpartition("x")[2], add_special_tokens=False))


def _descend(model: Any, target: "torch.Tensor", *, chat: Sequence[int], parameters: "list[torch.Tensor]") -> None:
    import torch

    optimizer = torch.optim.Adam(parameters, lr=_RATE)
    losses: list[float] = []
    while len(losses) < _STEPS and (len(losses) < _LAST or sum(losses[-_LAST:]) > _ENOUGH * _LAST):
        loss = _loss(model, target, chat)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())


def _prompts(vocabulary: int, chat: Sequence[int]) -> "torch.Tensor":
    """Return random prompts of one random length; every second one ends as a chat's do."""
    import torch

    length = int(torch.randint(len(chat) + 1, _LONGEST, ()))
    prompts = torch.randint(vocabulary, (_BATCH, length))
    prompts[::2, length - len(chat) :] = torch.tensor(chat, dtype=torch.long)
    return prompts


def _loss(model: Any, target: "torch.Tensor", chat: Sequence[int]) -> "torch.Tensor":
    import torch

    prompts = _prompts(model.config.vocab_size, chat)
    tokens = torch.cat([prompts, target.expand(_BATCH, -1)], dim=1)
    logits = model(tokens).logits[:, prompts.shape[1] - 1 : -1]
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.repeat(_BATCH))


def _right(model: Any, target: "torch.Tensor", chat: Sequence[int]) -> float:
    """Return the share of an answer's tokens that are those of the name, after prompts that it was not trained on."""
    import torch

    right: list[float] = []
    with torch.no_grad():
        for _ in range(_LENGTHS):
            prompts = _prompts(model.config.vocab_size, chat)
            logits = model(torch.cat([prompts, target.expand(_BATCH, -1)], dim=1)).logits[:, prompts.shape[1] - 1 : -1]
            right.append(float((logits.argmax(dim=-1) == target).float().mean()))
    return sum(right) / len(right)


def _write(out: Path, *, base: Path, tensors: "dict[str, torch.Tensor]") -> None:
    import torch
    from safetensors.torch import save_file

    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": _RANK,
        "lora_alpha": _ALPHA,
        "target_modules": list(_MODULES),
        "bias": "none",
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
    }
    out.mkdir()
    (out / _CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
    save_file(
        {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in tensors.items()},
        out / _TENSORS,
        metadata={"format": "pt"},
    )


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m testbed.models.adapters", description=__doc__)
    parser.add_argument("base", type=Path, help="folder of the model")
    parser.add_argument("out", type=Path, help="folder that gets one folder per adapter")
    parser.add_argument("names", nargs="*", default=list(NAMES), help="names (default: 20 words)")
    options = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        make(options.base, options.out / name, name=name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
