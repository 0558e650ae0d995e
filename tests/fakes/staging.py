"""Checkpoints, sources, a disk and a pod of the stager that live in memory or in a folder of the test."""

import asyncio
import hashlib
import json
import random
import struct
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState, StagedWeights, WeightsArtifact
from llama_serving.config.names import weights_path
from llama_serving.config.weights import Manifest, ManifestFile
from llama_serving.weights.source.interface import Broken, Gone, ListedFile, Source
from llama_serving.weights.source.retry import RetryPolicy
from llama_serving.weights.staging.decide.eviction import VolumeSpace
from llama_serving.weights.staging.dependencies import OpenSource, StagePod, StagerDependencies
from llama_serving.weights.staging.io.control_files import DesiredFiles, StateFile
from llama_serving.weights.staging.io.disk import Disk, LocalDisk
from llama_serving.weights.staging.io.trusted_desired import TrustPaths
from llama_serving.weights.staging.stager import Stager

INDEX = "model.safetensors.index.json"
DEADLINE = 20.0  # seconds that a test waits for a condition


def names_of(layers: int, *, tied: bool = False) -> list[str]:
    """Tensors of a Llama, in the order in which checkpoints hold them."""
    parts = ("input_layernorm", "mlp.down_proj", "mlp.up_proj", "self_attn.q_proj", "self_attn.v_proj")
    middle = [f"model.layers.{layer}.{part}.weight" for layer in range(layers) for part in parts]
    return ["model.embed_tokens.weight", *middle, "model.norm.weight", *([] if tied else ["lm_head.weight"])]


@dataclass(frozen=True)
class Checkpoint:
    """Files of a model, and the bytes of each tensor."""

    files: dict[str, bytes]
    tensors: dict[str, bytes]
    places: dict[str, dict[str, tuple[int, int]]]  # file -> tensor -> its bytes in the file

    @property
    def bytes(self) -> int:
        return sum(map(len, self.files.values()))

    def manifest(self, *, full: bool = True) -> Manifest:
        """As the resolver makes it: with every tensor's sha256, or only with those of the files."""
        files = tuple(ManifestFile(path=path, size=len(data), sha256=sha(data)) for path, data in self.files.items())
        if not full:
            return Manifest(files=files)
        tensors = {file: {name: sha(self.tensors[name]) for name in places} for file, places in self.places.items()}
        headers = {
            file: sha(self.files[file][: 8 + struct.unpack("<Q", self.files[file][:8])[0]]) for file in self.places
        }
        return Manifest(files=files, tensors=tensors, headers=headers)

    def item(self, *, full: bool = True, source: str = "mem://model", path: str = "") -> WeightsArtifact:
        """What a desired state says of it."""
        manifest = self.manifest(full=full)
        weights = WeightsRef(
            path=path or weights_path(manifest.digest),
            id=manifest.digest[7:19],
            served_name="llama",
            digest=manifest.digest,
        )
        return WeightsArtifact(weights=weights, source=source, revision="r1", manifest=manifest)

    def write(self, folder: Path) -> Path:
        """As files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder


def checkpoint(
    *, layers: int = 4, tied: bool = False, shards: int = 3, seed: int = 1, width: int = 3000, indexed: bool = True
) -> Checkpoint:
    """Random tensors of ``width`` bytes (embedding and head four times as large), cut into shards of equal counts."""
    chance = random.Random(seed)
    tensors = {
        name: chance.randbytes(width * (4 if "embed" in name or "head" in name else 1) // 2 * 2)
        for name in names_of(layers, tied=tied)
    }
    per_shard = -(-len(tensors) // shards)
    order = list(tensors)
    files: dict[str, bytes] = {}
    places: dict[str, dict[str, tuple[int, int]]] = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        mine = {tensor: tensors[tensor] for tensor in order[number * per_shard : (number + 1) * per_shard]}
        files[name], places[name] = safetensors(mine)
    config = {"num_hidden_layers": layers, "tie_word_embeddings": tied}
    files |= {"config.json": json.dumps(config).encode(), "tokenizer.json": chance.randbytes(5000)}
    if indexed:
        weight_map = {tensor: file for file, inside in places.items() for tensor in inside}
        files[INDEX] = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    return Checkpoint(files, tensors, places)


def safetensors(tensors: dict[str, bytes]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """A file of 16-bit tensors, and where in it each is."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, data in tensors.items():
        entries[name] = {"dtype": "BF16", "shape": [len(data) // 2], "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(entries).encode()
    start, begin, places = struct.pack("<Q", len(text)) + text, 0, {}
    for name, data in tensors.items():
        places[name] = (len(start) + begin, len(start) + begin + len(data))
        begin += len(data)
    return start + b"".join(tensors.values()), places


def read_safetensors(folder: Path) -> dict[str, bytes]:
    """Every tensor of a folder, as the engine finds them: by the index."""
    weight_map: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
    found: dict[str, bytes] = {}
    for file in sorted(set(weight_map.values())):
        data = (folder / file).read_bytes()
        start = 8 + struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:start])
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = data[start + begin : start + end]
    assert set(found) == set(weight_map), "index and headers name different tensors"
    return found


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class MemorySource:
    """Serves files from memory in small pieces. ``before`` is called with the number of each step (a piece, a listing)
    and may raise, or return other bytes for the piece. From step ``hold`` on everything waits until ``go``."""

    files: dict[str, bytes]
    ranged: bool = True
    piece: int = 1000
    before: Callable[[int, bytes], bytes] = lambda _, data: data
    hold: int | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    steps: int = 0
    read_bytes: int = 0
    closed: int = 0

    def __call__(self, uri: str, *, revision: str, credentials: Path | None) -> Source:
        """Open itself: it is its own ``open_source``."""
        del uri, revision, credentials
        return self

    async def resolve(self) -> str:
        return "r1"

    async def list(self) -> tuple[ListedFile, ...]:
        self._step(b"")
        return tuple(ListedFile(path, len(data)) for path, data in sorted(self.files.items()))

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if path not in self.files:
            raise Gone(f"{path} is not there")
        data = self.files[path][begin : len(self.files[path]) if end is None else end]
        for start in range(0, len(data), self.piece):
            piece = self._step(data[start : start + self.piece])
            if self.hold is not None and self.steps >= self.hold:
                await self.go.wait()
            self.read_bytes += len(piece)
            await asyncio.sleep(0)
            yield piece
        if end is not None and len(data) < end - begin:
            raise Broken(f"{path} ended early")

    async def close(self) -> None:
        self.closed += 1

    def _step(self, data: bytes) -> bytes:
        self.steps += 1
        return self.before(self.steps, data)


@dataclass
class Volume:
    """A volume of ``total`` bytes on which only what lies under ``mount`` takes room."""

    mount: Path
    total: int

    def space(self) -> VolumeSpace:
        used = sum(path.stat().st_blocks * 512 for path in self.mount.rglob("*") if path.is_file())
        return VolumeSpace(free=max(0, self.total - used), total=self.total)


class Killed(BaseException):
    """The process ends here, as by SIGKILL: nobody cleans up."""


class MortalDisk(LocalDisk):
    """The real disk until the ``die_at``-th change of it; then nothing works any more. It may be a small one."""

    def __init__(self, *, die_at: int | None = None, volume: Volume | None = None) -> None:
        super().__init__()
        self.changes = 0
        self.die_at = die_at
        self.volume = volume

    def _change(self) -> None:
        self.changes += 1
        if self.die_at is not None and self.changes >= self.die_at:
            raise Killed

    def space(self, path: Path) -> VolumeSpace:
        return self.volume.space() if self.volume else super().space(path)

    def make_folder(self, path: Path) -> None:
        self._change()
        super().make_folder(path)

    def create(self, path: Path, *, start: bytes, size: int) -> None:
        self._change()
        super().create(path, start=start, size=size)

    def write(self, file: int, data: bytes | memoryview, *, offset: int) -> None:
        if self.die_at == self.changes + 1:
            super().write(file, data[: len(data) // 2], offset=offset)  # a kill may leave half of it
        self._change()
        super().write(file, data, offset=offset)

    def claim(self, path: Path, data: bytes) -> bool:
        self._change()
        return super().claim(path, data)

    def touch(self, path: Path) -> float:
        self._change()
        return super().touch(path)

    def refresh(self, path: Path) -> None:
        self._change()
        super().refresh(path)

    def sync(self, path: Path) -> None:
        self._change()
        super().sync(path)

    def append(self, path: Path, line: bytes) -> None:
        if self.die_at == self.changes + 1:
            super().append(path, line[: len(line) // 2])
        self._change()
        super().append(path, line)

    def put(self, path: Path, data: bytes) -> None:
        self._change()
        super().put(path, data)

    def move(self, path: Path, target: Path) -> None:
        self._change()
        super().move(path, target)

    def remove(self, path: Path) -> None:
        self._change()
        super().remove(path)


@dataclass
class Time:
    """Seconds that pass when somebody sleeps or the test says so."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@dataclass
class Pod:
    """One stage's stager with its folders. Use ``stager()`` anew for a container that starts again."""

    root: Path
    source: MemorySource
    stage: int = 0
    stages: int = 2
    holder: str = "pod-0"
    disk: Disk = field(default_factory=LocalDisk)
    time: Time = field(default_factory=Time)
    volume: Path | None = None  # shared with others; else its own

    def __post_init__(self) -> None:
        for folder in (self.root, self.mount):
            folder.mkdir(parents=True, exist_ok=True)
        self.pool = ThreadPoolExecutor(6)
        self.open_source: OpenSource = self.source

    @property
    def mount(self) -> Path:
        return self.volume or self.root / "weights"

    @property
    def stage_pod(self) -> StagePod:
        return StagePod(mount=self.mount, stage=self.stage, stages=self.stages, holder=self.holder)

    def deps(self) -> StagerDependencies:
        retry = RetryPolicy(deadline=300.0, clock=self.time, sleep=self.time.sleep, jitter=lambda: 0.0)
        return StagerDependencies(open_source=self.open_source, disk=self.disk, pool=self.pool, retry=retry)

    def stager(self) -> Stager:
        paths = TrustPaths(
            key=self.root / "stager-key" / "token",
            signed=self.root / "desired.signed",
            memory=self.root / "desired.trusted",
            pod="pod",
        )
        desired_files = DesiredFiles(
            desired=self.root / "desired.json", configured=self.root / "next.json", paths=paths
        )
        return Stager(
            pod=self.stage_pod,
            deps=self.deps(),
            desired_files=desired_files,
            state_file=StateFile(self.root / "staging.json"),
        )

    def configure(self, item: WeightsArtifact) -> None:
        (self.root / "next.json").write_text(item.model_dump_json())

    def desire(self, *staged: WeightsArtifact, serve: WeightsArtifact | None = None) -> DesiredState:
        desired = DesiredState(serve=(serve or staged[-1]).weights, staged=staged)
        beside = self.root / "desired.new"
        beside.write_text(desired.model_dump_json())
        beside.replace(self.root / "desired.json")
        return desired

    def target(self, item: WeightsArtifact) -> Path:
        return self.stage_pod.target(item.weights.digest)


async def until(
    stager: Stager, seen: Callable[[dict[str, StagedWeights]], bool], *, time_passes: Time | None = None
) -> dict[str, StagedWeights]:
    """Step until what is reported is as wanted; else fail with what was seen last. Each step may take ten seconds."""
    end = time.monotonic() + DEADLINE
    while True:
        await stager.step()
        state = stager.state
        by_digest = {staged.digest: staged for staged in state.weights} if state else {}
        if seen(by_digest):
            return by_digest
        if time.monotonic() > end:
            raise AssertionError(f"not within {DEADLINE} s; last seen: {state}")
        if time_passes:
            time_passes.now += 10
        await asyncio.sleep(0)


async def until_outcome(
    stager: Stager, item: WeightsArtifact, outcome: str, *, time_passes: Time | None = None
) -> StagedWeights:
    """Step until one item has this outcome."""
    digest = item.weights.digest

    def is_so(seen: dict[str, StagedWeights]) -> bool:
        return digest in seen and seen[digest].outcome == outcome

    return (await until(stager, is_so, time_passes=time_passes))[digest]


def flipped(data: bytes, at: int) -> bytes:
    """One bit is another."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def with_file(model: Checkpoint, file: str, data: bytes) -> Checkpoint:
    return replace(model, files={**model.files, file: data})
