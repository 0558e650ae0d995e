"""What an engine is told to load, and where a stage finds it.

Rule: all stages of an engine get one path. WeightsRef that a stager readied lie in a folder of each stage's own, so the
path is that of a link, ``LINKS/<first 16 hex digits of the digest>``, which every stage points at its own folder.
WeightsRef that nobody staged are loaded from where they lie.
"""

from dataclasses import dataclass
from typing import Any, Final

from llama_serving.config import names
from llama_serving.config.cell import CellConfig, WeightsRef
from llama_serving.config.desired import DesiredState

LINKS: Final = "/tmp/llama-weights"


@dataclass(frozen=True)
class Load:
    """Some weights as the engine knows them."""

    path: str
    id: str
    digest: str = ""

    @property
    def name(self) -> str:
        """For sentences: the id, and the beginning of the digest where there is one."""
        short = self.digest.removeprefix("sha256:")[:12]
        return f"{self.id} ({short})" if short and short not in self.id else self.id

    @property
    def sealed(self) -> bool:
        """Whether what lies at the path was verified, and each rank can say of what digest it is."""
        return self.path.startswith(f"{LINKS}/")

    def user_config(self) -> dict[str, str]:
        """The part of Serve's document that may change while the replica runs."""
        return {"weights_path": self.path, "weights_id": self.id, "weights_digest": self.digest}


def from_user_config(values: dict[str, Any]) -> Load:
    """What ``Load.user_config`` was made of."""
    return Load(
        path=str(values["weights_path"]), id=str(values["weights_id"]), digest=str(values.get("weights_digest", ""))
    )


def wanted_weights(config: CellConfig, wish: DesiredState | None) -> WeightsRef:
    """The weights that are asked for: of the wish, else of the pod's config."""
    return config.weights if wish is None else wish.serve


def is_staged(config: CellConfig, weights: WeightsRef) -> bool:
    """Whether a stager readies these weights; without a digest there is nothing that it could check."""
    return config.staged and bool(weights.digest)


def load_of(config: CellConfig, weights: WeightsRef) -> Load:
    """What the engine is told to load for ``weights``."""
    path = f"{LINKS}/{short_digest(weights.digest)}" if is_staged(config, weights) else weights.path
    return Load(path=path, id=weights.id, digest=weights.digest)


def own_folder(weights: WeightsRef, *, stage: int, stages: int) -> str:
    """Where the files of staged weights lie on one stage: its own sub-folder, or the volume that was mounted."""
    if weights.path == names.weights_path(weights.digest):
        return names.staged_path(weights.digest, stage=stage, stages=stages)
    return weights.path


def short_digest(digest: str) -> str:
    """First 16 hexadecimal digits: the name of a folder or a link."""
    return digest.removeprefix("sha256:")[:16]
