"""The folder between a supervisor and its stager: the wish goes out, how far the stager is comes in.

The wish is kept here so that a container that starts again begins with it: the folder is the pod's.
"""

import logging
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from llama_serving.cell.shared.identity import Identity
from llama_serving.cell.shared.verified_links import replace_text, seal, unseal
from llama_serving.cell.shared.weights_ref import is_staged, own_folder, wanted_weights
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState, StagingState

logger = logging.getLogger(__name__)

Model = TypeVar("Model", DesiredState, StagingState)

READY: Final = "ready"


class ControlFolder:
    """One stage's wish and staging, and the links through which its engine reaches staged weights."""

    def __init__(self, me: Identity, *, folder: Path, links: Path) -> None:
        self._me = me
        self._wish_path = folder / Path(names.DESIRED_PATH).name
        self._staging_path = folder / Path(names.STAGING_PATH).name
        self._links = links
        self._wish = _read(self._wish_path, DesiredState)
        self._staging: StagingState | None = None
        self._seen = 0  # time of the staging file that was read last
        self._sealed: dict[str, str] = {}  # digest -> folder

    def wish(self) -> DesiredState | None:
        """The last wish; None where there was none."""
        return self._wish

    def keep(self, wish: DesiredState) -> None:
        """Take a wish. Raises OSError when it cannot be written: then the wish before still holds."""
        if wish != self._wish:
            self._wish_path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(self._wish_path, wish.model_dump_json())
            logger.info("Wish %s: serve %s, %d staged.", wish.key, wish.serve.id, len(wish.staged))
            self._wish = wish

    def staging(self) -> StagingState | None:
        """What the stager says; None until it has said anything. What it says is ready can be loaded afterwards."""
        try:
            written = self._staging_path.stat().st_mtime_ns
        except OSError:
            return self._staging
        if written != self._seen:
            self._staging = _read(self._staging_path, StagingState) or self._staging
            self._seen = written
            self._sealed = {}  # the stager looked again, so the files may be other ones that are as good
        self._seal()
        return self._staging

    def _seal(self) -> None:
        known = self._known()
        for staged in self._staging.weights if self._staging is not None else ():
            weights = known.get(staged.digest)
            if staged.outcome != READY:
                unseal(self._links, digest=staged.digest)
                self._sealed.pop(staged.digest, None)
            elif weights is not None and staged.digest not in self._sealed:
                self._seal_one(weights)

    def _seal_one(self, weights: WeightsRef) -> None:
        folder = own_folder(weights, stage=self._me.stage, stages=self._me.stages)
        try:
            seal(self._links, digest=weights.digest, folder=Path(folder))
        except OSError as error:  # gone since the stager looked; it will look again
            logger.warning("Cannot link %s: %s", folder, error)
        else:
            self._sealed[weights.digest] = folder

    def _known(self) -> dict[str, WeightsRef]:
        """WeightsRef by digest: of the config, and of the wish."""
        wished = () if self._wish is None else (*(item.weights for item in self._wish.staged), self._wish.serve)
        every = (self._me.config.weights, *wished, wanted_weights(self._me.config, self._wish))
        return {weights.digest: weights for weights in every if is_staged(self._me.config, weights)}


def _read(path: Path, model: type[Model]) -> Model | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        logger.warning("Cannot read %s: %s", path, error)
        return None
