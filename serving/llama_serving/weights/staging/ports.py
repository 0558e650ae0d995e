"""Where a stager is, and what it works with."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llama_serving.config import names
from llama_serving.weights.source.interface import Source
from llama_serving.weights.source.retry import Patience
from llama_serving.weights.staging.io.disk import Disk


class OpenSource(Protocol):
    """From a URI to its source, as ``source.open.open_source``."""

    def __call__(self, uri: str, *, revision: str, credentials: Path | None) -> Source:
        """Raises Gone when the URI is none."""


@dataclass(frozen=True)
class Site:
    """One stage's pod."""

    mount: Path  # of the volume of the weights
    stage: int
    stages: int
    holder: str  # name of the pod
    credentials: Path | None = None

    def target(self, digest: str) -> Path:
        """The folder that the engine of this stage loads, as ``names.staged_path`` says."""
        path = names.staged_path(digest, stage=self.stage, stages=self.stages)
        return self.mount / Path(path).relative_to(names.WEIGHTS_MOUNT)


@dataclass(frozen=True)
class Tools:
    """The edges. Seconds are ``clock``'s."""

    open_source: OpenSource
    disk: Disk
    pool: Executor
    patience: Patience

    @property
    def clock(self) -> Callable[[], float]:
        """Of the patience: there is one time."""
        return self.patience.clock
