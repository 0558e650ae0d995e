"""Paths and dependencies of the stager."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from llama_serving.config import names
from llama_serving.config.desired import WantedAdapter, WeightsArtifact
from llama_serving.config.source import is_mounted
from llama_serving.weights.source.interface import Source
from llama_serving.weights.source.retry import RetryPolicy
from llama_serving.weights.staging.decide.artifact import Artifact
from llama_serving.weights.staging.io.disk import Disk

#: Streams from a source at a time, and threads that hash and write what they bring.
STREAMS: Final = 4


class OpenSource(Protocol):
    """A function from a URI to its source, as ``source.factory.open_source``."""

    def __call__(self, uri: str, *, revision: str, credentials: Path | None) -> Source:
        """Return the source. Raises Gone when ``uri`` is no URI of a known scheme."""


@dataclass(frozen=True)
class StagePod:
    """The pod of one stage."""

    mount: Path  # of the volume of the weights
    stage: int
    stages: int
    holder: str  # name of the pod
    credentials: Path | None = None

    def target(self, digest: str) -> Path:
        """Return the folder that the engine of this stage loads, as ``names.staged_path`` says."""
        return self._on_volume(names.staged_path(digest, stage=self.stage, stages=self.stages))

    def adapter_target(self, digest: str) -> Path:
        """Return the same of a LoRA adapter, as ``names.staged_adapter_path`` says."""
        return self._on_volume(names.staged_adapter_path(digest, stage=self.stage, stages=self.stages))

    @property
    def adapters(self) -> Path:
        """The folder of all adapters on the volume."""
        return self.mount / names.ADAPTERS_FOLDER

    def _on_volume(self, path: str) -> Path:
        return self.mount / Path(path).relative_to(names.WEIGHTS_MOUNT)


@dataclass(frozen=True)
class StagerDependencies:
    """What a stager uses of the world outside; tests give others. Seconds are ``clock``'s."""

    open_source: OpenSource
    disk: Disk
    pool: Executor
    retry: RetryPolicy

    @property
    def clock(self) -> Callable[[], float]:
        """Clock of the retry policy, so that both count the same seconds."""
        return self.retry.clock


def is_in_place(item: Artifact) -> bool:
    """Return whether the engine reads the files where they lie: weights of a claim. An adapter is small, and copied.

    An engine reads an adapter again and again while it serves, and reads only the matrices of its stage.
    """
    return isinstance(item, WeightsArtifact) and is_mounted(item.source)


def staged_folder(item: Artifact, pod: StagePod) -> Path:
    """Return the folder in which the engine of this stage finds the files."""
    if isinstance(item, WantedAdapter):
        return pod.adapter_target(item.adapter.digest)
    return Path(item.weights.path) if is_in_place(item) else pod.target(item.weights.digest)
