"""A Llama of some MB with random weights, in two files: small enough to send often, large enough to be cut."""

import json
import random
import struct
from pathlib import Path

from tests.unit.weights.model.folders import CONFIG, FIRST, SECOND, header, write_json

VOCABULARY, HIDDEN = 4096, 256
FIRST_TENSORS = {
    "model.embed_tokens.weight": [VOCABULARY, HIDDEN],
    "model.layers.0.input_layernorm.weight": [HIDDEN],
}
SECOND_TENSORS = {
    "model.layers.1.input_layernorm.weight": [HIDDEN],
    "model.norm.weight": [HIDDEN],
    "lm_head.weight": [VOCABULARY, HIDDEN],
}
README = "---\nlicense: llama3.1\n---\n# A model\n"


def make_model(folder: Path, *, seed: int = 1) -> Path:
    """Same seed, same bytes: two files of 2 MiB, an index, config, tokenizer and a README that names the license."""
    folder.mkdir(parents=True)
    chance = random.Random(seed)
    for name, tensors in ((FIRST, FIRST_TENSORS), (SECOND, SECOND_TENSORS)):
        entries, size = header(tensors)
        text = json.dumps(entries).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + chance.randbytes(size))
    index = dict.fromkeys(FIRST_TENSORS, FIRST) | dict.fromkeys(SECOND_TENSORS, SECOND)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    write_json(folder / "config.json", {**CONFIG, "hidden_size": HIDDEN, "vocab_size": VOCABULARY})
    write_json(folder / "tokenizer.json", {})
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "README.md").write_text(README)
    (folder / "notes.txt").write_text("not served")
    return folder


SERVED = ("chat_template.jinja", "config.json", FIRST, SECOND, "model.safetensors.index.json", "tokenizer.json")
