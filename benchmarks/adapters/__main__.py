"""What requests with LoRA adapters cost: ``python -m benchmarks.adapters`` with the serving environment.

Two engines of vLLM in one process, with a generated Llama of four layers: one without room for adapters, and one with
room for eight of rank 8. Each measurement answers a batch of eight requests of 32 tokens, by the
base or by 1, 2, 4 or 8 adapters in turn. All are loaded before. A step of the engine reads a slot per adapter in it.

Every row is measured in pairs with the base of the engine with room, one directly after the other in changing order; a
row is the quotient of the two, as median and quartiles over the pairs. The first row is the base beside itself: what it
shows is noise, and no other row is known better. ``wall`` is the time of the batch, ``cpu`` that of all threads.

On a CPU vLLM adds adapters with plain torch, request by request; on a GPU one kernel does all. So the rows say how the
cost grows on a CPU, and that nothing is loaded or copied in a step, and nothing of a GPU.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from llama_serving.cell.entrypoints import CPU_WORKER_CLASS, WORKER_EXTENSION_CLASS
from llama_serving.cell.shared.adapters.engine_adapter import EngineAdapter
from llama_serving.cell.shared.adapters.room import adapter_kwargs
from llama_serving.cell.shared.verified_links import create_link
from llama_serving.config.cell import AdapterLimits
from testbed.models import adapters, tiny

ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
BATCH: Final = 8
TOKENS: Final = 32
LIMITS: Final = AdapterLimits(slots=8, held=8, max_rank=8)
PROMPT: Final = "Requests wait in the gateway. " * 4

Took = tuple[float, float]  # seconds on the clock, and of CPU
Measure = Callable[[], Took]


class Engine:
    """vLLM as a rank of a cell has it, in this process."""

    def __init__(self, base: Path, links: Path, *, limits: AdapterLimits | None) -> None:
        from vllm import LLM

        self._links = links
        self._llm = LLM(
            str(base),
            dtype="float32",
            max_model_len=512,
            max_num_seqs=BATCH,
            enforce_eager=True,
            kv_cache_memory_bytes=64 << 20,
            enable_prefix_caching=False,
            worker_cls=CPU_WORKER_CLASS,
            worker_extension_cls=WORKER_EXTENSION_CLASS,
            **adapter_kwargs(limits),
        )

    def load(self, adapter: EngineAdapter) -> None:
        """Load an adapter whose files are behind its link. Raises RuntimeError where the rank refuses it."""
        about = {"name": adapter.internal_name, "number": adapter.number, "digest": adapter.digest}
        [report] = self._llm.collective_rpc("load_adapter", kwargs={**about, "path": self._path(adapter)})
        if report.get("error"):
            raise RuntimeError(f"{adapter.name}: {report['error']}")

    def answer(self, models: Sequence[EngineAdapter | None]) -> Took:
        """Answer a batch, one request by each of the models; None is the base."""
        from vllm import SamplingParams

        parameters = SamplingParams(max_tokens=TOKENS, temperature=0, ignore_eos=True)
        requests = [self._request(model) for model in models]
        began, cpu = time.perf_counter(), time.process_time()
        self._llm.generate([PROMPT] * len(models), parameters, lora_request=requests, use_tqdm=False)
        return time.perf_counter() - began, time.process_time() - cpu

    def _request(self, adapter: EngineAdapter | None) -> Any:
        from vllm.lora.request import LoRARequest

        if adapter is None:
            return None
        name, number = adapter.internal_name, adapter.number
        return LoRARequest(lora_name=name, lora_int_id=number, lora_path=self._path(adapter))

    def _path(self, adapter: EngineAdapter) -> str:
        return str(self._links / Path(adapter.path).name)


@dataclass(frozen=True)
class Row:
    """Quotients of a case and of the base beside it: lower quartile, median, upper quartile."""

    name: str
    wall: tuple[float, float, float]
    cpu: tuple[float, float, float]

    def __str__(self) -> str:
        return f"| {self.name} | {_shown(self.wall)} | {_shown(self.cpu)} |"


def compared(name: str, case: Measure, base: Measure, *, pairs: int) -> Row:
    """Measure a case and the base in pairs, each pair in an order of its own."""
    chance, wall, cpu = random.Random(name), list[float](), list[float]()
    for _ in range(pairs):
        if chance.random() < 0.5:
            one, other = case(), base()
        else:
            other, one = base(), case()
        wall.append(one[0] / other[0])
        cpu.append(one[1] / other[1])
    return Row(name, _quartiles(wall), _quartiles(cpu))


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = quantiles(values, n=4)
    return low, middle, high


def _shown(quartiles: tuple[float, float, float]) -> str:
    low, middle, high = quartiles
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def batch(known: Sequence[EngineAdapter], different: int) -> list[EngineAdapter | None]:
    """Return whom the requests of a batch ask: so many adapters in turn; 0 is the base alone."""
    return [known[number % different] if different else None for number in range(BATCH)]


def run(folder: Path, *, pairs: int) -> None:
    """Make model and adapters, measure, and print the rows."""
    os.environ.update(ENVIRONMENT)
    base, links = folder / "base", folder / "links"
    tiny.make(base, seed=1)
    known = [_adapter(base, folder / name, links, name=name) for name in adapters.NAMES[:BATCH]]
    plain, room = Engine(base, links, limits=None), Engine(base, links, limits=LIMITS)
    for adapter in known:
        room.load(adapter)

    def answered(engine: Engine, different: int) -> Measure:
        return lambda: engine.answer(batch(known, different))

    reference = answered(room, 0)
    cases = {"base beside itself": reference, "base, engine without room": answered(plain, 0)}
    cases |= {
        f"{different} adapter{'s' if different > 1 else ''}": answered(room, different) for different in (1, 2, 4, 8)
    }
    mixed = [*batch(known, 4)[: BATCH // 2], *batch(known, 0)[: BATCH // 2]]
    cases["4 adapters and the base"] = lambda: room.answer(mixed)
    for case in cases.values():  # what a first step makes is not measured
        case()
    took = sorted(reference()[0] for _ in range(5))[2]
    print(f"batch of {BATCH} by the base: {took * 1e3:.0f} ms, {BATCH * TOKENS / took:.0f} tokens/s; {pairs} pairs")
    print("| batch | wall, of the base | cpu, of the base |\n|---|---|---|")
    for name, case in cases.items():
        print(compared(name, case, reference, pairs=pairs), flush=True)


def _adapter(base: Path, folder: Path, links: Path, *, name: str) -> EngineAdapter:
    """Make an adapter, or take it from the cache, and put it where a rank looks for it."""
    made = EngineAdapter(name=name, digest=f"sha256:{name.encode().hex():0<64}", id=name)
    adapters.make(base, folder, name=name)
    create_link(links, digest=made.digest, folder=folder)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapters", description=__doc__)
    parser.add_argument("--pairs", type=int, default=30, help="pairs per row")
    with tempfile.TemporaryDirectory() as scratch:
        run(Path(scratch), pairs=parser.parse_args().pairs)
