"""The desired state, the state of staging and the verified links between them, on a real folder."""

import os
from pathlib import Path

import pytest

from llama_serving.cell.shared.verified_links import ChangedWeightsError, verified_digest
from llama_serving.cell.shared.weights_ref import LINKS, engine_weights, short_digest
from llama_serving.cell.supervisor.control_dir import ControlDir
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import AdapterRef, DesiredState, StagedWeights, StagingState, WantedAdapter
from llama_serving.config.weights import Manifest
from tests.unit.cell.fakes import ready
from tests.unit.cell.worlds import config, identity

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


class World:
    """A stage with a model in two revisions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.links = folder / "links"
        for name in "ab":
            (folder / name).mkdir()
            (folder / name / "model.safetensors").write_bytes(name.encode())
        self.control = self.start()

    def weights(self, digest: str) -> WeightsRef:
        return WeightsRef(path=str(self.folder / digest[7]), id=digest[7], served_name="llama", digest=digest)

    def start(self) -> ControlDir:
        """The container's supervisor, again."""
        me = identity(staged=True, weights=self.weights(A))
        return ControlDir(
            me, folder=self.folder / "control", links=self.links, adapter_links=self.folder / "adapter-links"
        )

    def says(self, state: StagingState) -> None:
        path = self.folder / "control" / Path(names.STAGING_PATH).name
        path.parent.mkdir(exist_ok=True)
        path.write_text(state.model_dump_json(), encoding="utf-8")
        self._clock = getattr(self, "_clock", 1_000_000_000) + 1_000_000
        os.utime(path, ns=(self._clock, self._clock))

    def link(self, digest: str) -> Path:
        return self.links / short_digest(digest)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_desired_state_survives_the_container(world: World) -> None:
    assert world.control.desired_state() is None
    desired = DesiredState(serve=world.weights(B))
    world.control.store(desired)
    assert (world.control.desired_state(), world.start().desired_state()) == (desired, desired)
    written = (world.folder / "control" / "desired.json").stat().st_mtime_ns
    world.control.store(DesiredState(serve=world.weights(B)))
    assert (world.folder / "control" / "desired.json").stat().st_mtime_ns == written, "the same state changes nothing"


def test_a_desired_state_that_cannot_be_read_is_none(world: World) -> None:
    (world.folder / "control").mkdir()
    (world.folder / "control" / "desired.json").write_text('{"serve": ', encoding="utf-8")
    assert world.start().desired_state() is None


def test_a_desired_state_that_cannot_be_written_does_not_hold(world: World) -> None:
    (world.folder / "control").write_text("a file in the way", encoding="utf-8")
    with pytest.raises(OSError, match="control"):
        world.control.store(DesiredState(serve=world.weights(B)))
    assert world.control.desired_state() is None


def test_what_is_ready_can_be_loaded_through_its_link(world: World) -> None:
    assert world.control.staging() is None
    state = ready(A)
    world.says(state)
    assert world.control.staging() == state
    assert (world.link(A) / "model.safetensors").read_bytes() == b"a"
    assert verified_digest(world.link(A)) == A
    assert engine_weights(config(staged=True), world.weights(A)) == WeightsRef(
        path=f"{LINKS}/{'a' * 16}", id="a", served_name="llama", digest=A
    )


def test_weights_are_linked_once_the_desired_state_says_where_they_lie(world: World) -> None:
    world.says(ready(B))
    world.control.staging()
    assert not world.link(B).exists()
    world.control.store(DesiredState(serve=world.weights(B)))
    world.control.staging()
    assert verified_digest(world.link(B)) == B


def test_weights_that_are_not_ready_any_more_lose_their_link(world: World) -> None:
    world.says(ready(A))
    world.control.staging()
    world.says(ready(A, outcome="working"))
    world.control.staging()
    assert not world.link(A).is_symlink()


def test_files_that_the_stager_looked_at_again_are_linked_anew(world: World) -> None:
    world.says(ready(A))
    world.control.staging()
    (world.folder / "a" / "model.safetensors").write_bytes(b"copied again")
    world.control.staging()
    with pytest.raises(ChangedWeightsError):
        verified_digest(world.link(A))
    world.says(ready(A))
    world.control.staging()
    assert verified_digest(world.link(A)) == A


def test_staging_that_cannot_be_read_leaves_what_was_known(world: World) -> None:
    world.says(ready(A))
    known = world.control.staging()
    (world.folder / "control" / "staging.json").write_text("{", encoding="utf-8")
    assert world.control.staging() == known
    (world.folder / "control" / "staging.json").unlink()
    assert world.control.staging() == known


def test_a_folder_that_is_gone_is_not_linked(world: World) -> None:
    (world.folder / "a" / "model.safetensors").unlink()
    (world.folder / "a").rmdir()
    world.says(ready(A))
    world.control.staging()
    assert not world.link(A).is_symlink()


def test_an_adapter_is_linked_to_the_folder_of_this_stage_while_it_is_ready_and_desired(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "WEIGHTS_MOUNT", str(world.folder))
    folder = Path(names.staged_adapter_path(B, stage=0, stages=2))
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"matrices")
    link = world.folder / "adapter-links" / short_digest(B)
    world.says(adapter_staged("ready"))
    world.control.staging()
    assert not link.exists(), "nobody desires it"
    reference = AdapterRef(name="b", digest=B, id="b@1", rank=8)
    adapter = WantedAdapter(adapter=reference, source="hf://x/b", manifest=Manifest(files=()))
    world.control.store(DesiredState(serve=world.weights(A), adapters=(adapter,)))
    world.control.staging()
    assert (link.resolve(), verified_digest(link)) == (folder.resolve(), B)
    world.says(adapter_staged("working"))
    world.control.staging()
    assert not link.is_symlink()


def adapter_staged(outcome: str) -> StagingState:
    return StagingState(adapters=(StagedWeights(digest=B, id="b@1", outcome=outcome),))
