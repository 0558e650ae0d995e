"""The folder between a supervisor and its stager: the desired state goes out, the state of staging comes in.

The desired state is stored here so that a container that restarts begins with it: the folder is the pod's.
"""

import logging
from pathlib import Path
from typing import Final

from llama_serving.cell.shared.identity import Identity
from llama_serving.cell.shared.verified_links import create_link, remove_link
from llama_serving.cell.shared.weights_ref import desired_weights, is_staged, stage_folder
from llama_serving.common.message_file import MessageReader, replace_file, write_message
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState, StagingState

logger = logging.getLogger(__name__)

READY: Final = "ready"


class ControlDir:
    """One stage's desired state and staging state, and the verified links by which its engine reaches weights."""

    def __init__(
        self, me: Identity, *, folder: Path, links: Path, adapter_links: Path = Path(names.ADAPTER_LINKS)
    ) -> None:
        self._me = me
        self._desired_path = folder / Path(names.DESIRED_PATH).name
        self._signed_path = folder / Path(names.SIGNED_DESIRED_PATH).name
        self._desired = MessageReader(self._desired_path, DesiredState).read()
        self._staging = MessageReader(folder / Path(names.STAGING_PATH).name, StagingState)
        self._links = links
        self._linked: set[str] = set()  # digests
        self._adapter_links = adapter_links
        self._linked_adapters: set[str] = set()  # digests

    def desired_state(self) -> DesiredState | None:
        """Return the last desired state; None where there was none."""
        return self._desired

    def store(self, desired: DesiredState, *, signed: bytes = b"") -> None:
        """Store a desired state. Raises OSError when it cannot be written: then the one before still holds.

        ``signed``: signature, newline and body as the operator sent them, for the stager; empty: it did not sign.
        """
        if signed:
            self._desired_path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._signed_path, signed)
        elif desired != self._desired:
            self._signed_path.unlink(missing_ok=True)
        if desired != self._desired:
            self._desired_path.parent.mkdir(parents=True, exist_ok=True)
            write_message(self._desired_path, desired.model_dump_json(exclude_defaults=True))
            logger.info("desired state %s: serve %s, stage %d", desired.key, desired.serve.id, len(desired.staged))
            self._desired = desired

    def staging(self) -> StagingState | None:
        """Return what the stager reports; None until it has. What it reports as ready is linked. Blocks."""
        before = self._staging.version
        staging = self._staging.read()
        if self._staging.version != before:
            self._linked.clear()  # the stager looked again, so the files may be other ones that are as good
            self._linked_adapters.clear()
        if staging is not None:
            self._update_links(staging)
            self._update_adapter_links(staging)
        return staging

    def _update_links(self, staging: StagingState) -> None:
        known = self._known_weights()
        for staged in staging.weights:
            weights = known.get(staged.digest)
            if staged.outcome != READY:
                remove_link(self._links, digest=staged.digest)
                self._linked.discard(staged.digest)
            elif weights is not None and staged.digest not in self._linked:
                self._link(weights)

    def _update_adapter_links(self, staging: StagingState) -> None:
        """Link the adapters of the desired state; one that left it may still answer the last of its requests."""
        wanted = () if self._desired is None else self._desired.adapters
        known = {item.adapter.digest for item in wanted}
        for staged in staging.adapters:
            digest = staged.digest
            if staged.outcome != READY:
                remove_link(self._adapter_links, digest=digest)
                self._linked_adapters.discard(digest)
            elif digest in known and digest not in self._linked_adapters:
                folder = names.staged_adapter_path(digest, stage=self._me.stage, stages=self._me.stages)
                if _linked(self._adapter_links, digest=digest, folder=folder):
                    self._linked_adapters.add(digest)

    def _link(self, weights: WeightsRef) -> None:
        folder = stage_folder(weights, stage=self._me.stage, stages=self._me.stages)
        if _linked(self._links, digest=weights.digest, folder=folder):
            self._linked.add(weights.digest)

    def _known_weights(self) -> dict[str, WeightsRef]:
        """Return the staged weights of the config and of the desired state, by digest."""
        named = () if self._desired is None else (*(item.weights for item in self._desired.staged), self._desired.serve)
        every = (self._me.config.weights, *named, desired_weights(self._me.config, self._desired))
        return {weights.digest: weights for weights in every if is_staged(self._me.config, weights)}


def _linked(links: Path, *, digest: str, folder: str) -> bool:
    """Create a verified link; return whether it could be."""
    try:
        create_link(links, digest=digest, folder=Path(folder))
    except OSError as error:  # gone since the stager looked; it will look again
        logger.warning("cannot link %s: %s", folder, error)
        return False
    return True
