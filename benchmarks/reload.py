"""How fast a stage takes other weights: ``python -m benchmarks.reload`` with the serving environment.

One stage of a generated Llama in bfloat16 (random tensors, 2 GB as it comes), two checkpoints of it in the page cache,
one thread. Each round measures, one after the other in the same process:

* ``memcpy``        the same bytes from memory to memory (``Tensor.copy_``)
* ``read+memcpy``   ``read`` of the files through a buffer of 16 MiB, and a copy to where they go
* ``reload``        ours (``cell/rank/reload.py``)
* ``stock``         ``reload_weights`` of vLLM
* ``fresh``         vLLM's own load of a new model

Two kinds of linear layers, each in a process of its own: ``plain`` (a parameter, as on a GPU; here in main memory) and
``packed`` (by oneDNN, as vLLM does on CPU). Afterwards all parameters, and what each packed layer makes of a vector,
are compared bit for bit with a fresh load.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

WAYS = ("memcpy", "read+memcpy", "reload", "stock", "fresh")
BUFFER = 16 << 20
SIZES = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8}
LAYER_BYTES = 2 * (2048 * (2048 * 2 + 512 * 2) + 3 * 2048 * 8192)
VOCABULARY = 32_000


def make(folder: Path, *, layers: int, seed: int) -> None:
    """Write a checkpoint in shards, with random numbers of a healthy size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    config = LlamaConfig(
        num_hidden_layers=layers, vocab_size=VOCABULARY, tie_word_embeddings=False, dtype="bfloat16", **SIZES
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.02)
    model.save_pretrained(folder, max_shard_size="500MB")


class Bench:
    """One model in this process, and the five ways to fill it."""

    def __init__(self, first: Path, second: Path, *, packed: bool) -> None:
        import torch

        torch.set_num_threads(1)
        self._packed = packed
        if not packed:
            _keep_parameters()
        self._folders = (first, second)
        self._turn = 0
        self._config = _vllm_config(first)
        self.model = self.fresh(first)
        self._files = sorted(first.glob("*.safetensors"))
        self.bytes = sum(file.stat().st_size for file in self._files)
        self._from = torch.empty(self.bytes, dtype=torch.uint8).fill_(1)
        self._to = torch.empty_like(self._from).fill_(2)
        self._buffer = bytearray(BUFFER)

    def fresh(self, folder: Path) -> Any:
        """Return a new model, loaded by vLLM."""
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.model_loader import get_model

        self._config.model_config.model = str(folder)
        self._config.compilation_config.static_forward_context.clear()
        with set_current_vllm_config(self._config):
            return get_model(vllm_config=self._config)

    def next(self) -> Path:
        """Return the other checkpoint."""
        self._turn += 1
        return self._folders[self._turn % 2]

    def seconds(self, way: str) -> float:
        """Return the seconds of one fill."""
        ways: dict[str, Callable[[], object]] = {
            "memcpy": lambda: self._to.copy_(self._from),
            "read+memcpy": self._read,
            "reload": lambda: self.reload(self.next()),
            "stock": lambda: self._stock(self.next()),
            "fresh": lambda: self.fresh(self.next()),
        }
        began = time.perf_counter()
        kept = ways[way]()
        spent = time.perf_counter() - began
        del kept
        return spent

    def _read(self) -> None:
        import torch

        place, view = 0, memoryview(self._buffer)
        source = torch.frombuffer(self._buffer, dtype=torch.uint8)
        for file in self._files:
            with file.open("rb", buffering=0) as raw:
                while read := raw.readinto(view):
                    self._to[place : place + read].copy_(source[:read])
                    place += read

    def _worker(self) -> Any:
        runner = SimpleNamespace(get_model=lambda: self.model)
        return SimpleNamespace(model_runner=runner, vllm_config=self._config)

    def reload(self, folder: Path) -> None:
        """Reload the model our way."""
        from llama_serving.cell.rank.reload import reload_weights

        reload_weights(self._worker(), str(folder))

    def _stock(self, folder: Path) -> None:
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.model_loader.reload.inplace import reload_weights

        with set_current_vllm_config(self._config):
            reload_weights(self._config, self.model, None, str(folder), True)

    def differences(self) -> list[str]:
        """Return what a reload made otherwise than a fresh load."""
        folder = self.next()
        self.reload(folder)
        mine = prints(self.model)
        del self.model
        theirs = prints(self.fresh(folder))
        return [name for name in theirs if mine.get(name) != theirs[name]] + sorted(mine.keys() - theirs.keys())


def prints(model: Any) -> dict[str, str]:
    """Hash of every parameter, and of what every packed layer makes of a fixed matrix."""
    import hashlib

    import torch

    def digest(tensor: Any) -> str:
        return hashlib.sha256(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()

    found = {name: digest(parameter) for name, parameter in model.named_parameters() if parameter.numel()}
    torch.manual_seed(7)
    for name, module in model.named_modules():
        if hasattr(module, "cpu_linear") and not name.endswith("embed_tokens"):  # never used there
            width = module.weight.shape[1] if module.weight.numel() else module.input_size_per_partition
            x = torch.randn(4, width).to(module.weight.dtype)  # the kernel checks no bounds
            found[f"{name}(x)"] = digest(module.cpu_linear(x, module.weight, None))
    return found


def _vllm_config(folder: Path) -> Any:
    from vllm.config import set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel
    from vllm.engine.arg_utils import EngineArgs

    arguments = EngineArgs(model=str(folder), skip_tokenizer_init=True, dtype="bfloat16", enforce_eager=True)
    config = arguments.create_engine_config()
    with set_current_vllm_config(config), tempfile.NamedTemporaryFile() as store:
        init_distributed_environment(1, 0, f"file://{store.name}", 0, "gloo")
        initialize_model_parallel(1, 1)
    return config


def _keep_parameters() -> None:
    """Linear layers as they are on a GPU: a parameter that the kernel reads, nothing packed beside it."""
    import torch
    from vllm.model_executor.layers import utils

    def keep(layer: Any, *_: object, **__: object) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = keep


def child(first: Path, second: Path, *, packed: bool, rounds: int) -> dict[str, Any]:
    """All rounds of one kind of layers."""
    from llama_serving.cpu.heap import keep_freed_memory

    keep_freed_memory()
    bench = Bench(first, second, packed=packed)
    for way in WAYS:
        bench.seconds(way)  # the first touches memory for the first time
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            spent[way].append(bench.seconds(way))
    return {"bytes": bench.bytes, "seconds": spent, "differences": bench.differences()}


def show(kind: str, result: dict[str, Any]) -> None:
    """One table."""
    size = result["bytes"]
    base = median(result["seconds"]["memcpy"])
    print(f"\n{kind}: {size / 1e9:.2f} GB, {len(result['seconds']['memcpy'])} rounds; median [fastest, slowest]")
    print(f"{'way':14}{'seconds':>26}{'GB/s':>8}{'of memcpy':>11}")
    for way, spent in result["seconds"].items():
        middle = median(spent)
        span = f"{middle:7.3f} [{min(spent):.3f}, {max(spent):.3f}]"
        print(f"{way:14}{span:>26}{size / middle / 1e9:8.2f}{middle / base:10.2f}x")
    print(f"differences from a fresh load: {result['differences'] or 'none'}")


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reload", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of one stage (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--folder", type=Path, help="where the checkpoints go for the time of the run")
    parser.add_argument("--child", choices=("plain", "packed"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        packed = options.child == "packed"
        first, second = options.folder / "a", options.folder / "b"
        print(json.dumps(child(first, second, packed=packed, rounds=options.rounds)))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="llama-reload-", dir=options.folder))
    try:
        layers = max(1, round(options.gigabytes * 1e9 / LAYER_BYTES))
        for seed, name in enumerate("ab"):
            make(folder / name, layers=layers, seed=seed)
        for kind in ("plain", "packed"):
            show(kind, _run(kind, folder, rounds=options.rounds))
    finally:
        shutil.rmtree(folder)
    return 0


def _run(kind: str, folder: Path, *, rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.reload", "--child", kind, "--folder", str(folder)]
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    done = subprocess.run(
        [*command, "--rounds", str(rounds)], stdout=subprocess.PIPE, env=environment, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
