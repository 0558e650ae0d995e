"""DesiredState, staging and the links between them, on a real folder; and what a reader makes of a link."""

import os
from pathlib import Path
from typing import Any

import pytest

from llama_serving.cell.shared.last_deployed import tell, told
from llama_serving.cell.shared.verified_links import BrokenSealError, seal, sealed_digest, unseal
from llama_serving.cell.shared.weights_ref import LINKS, Load, is_staged, load_of, own_folder, short_digest
from llama_serving.cell.supervisor.control_dir import ControlFolder
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState, StagingState
from tests.unit.cell.fakes import ready
from tests.unit.cell.worlds import OLD, config, identity

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

    def start(self) -> ControlFolder:
        """The container's supervisor, again."""
        me = identity(staged=True, weights=self.weights(A))
        return ControlFolder(me, folder=self.folder / "control", links=self.links)

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


def test_a_wish_survives_the_container(world: World) -> None:
    assert world.control.wish() is None
    wish = DesiredState(serve=world.weights(B))
    world.control.keep(wish)
    assert (world.control.wish(), world.start().wish()) == (wish, wish)
    written = (world.folder / "control" / "desired.json").stat().st_mtime_ns
    world.control.keep(DesiredState(serve=world.weights(B)))
    assert (world.folder / "control" / "desired.json").stat().st_mtime_ns == written, "the same wish changes nothing"


def test_a_wish_that_cannot_be_read_is_none(world: World) -> None:
    (world.folder / "control").mkdir()
    (world.folder / "control" / "desired.json").write_text('{"serve": ', encoding="utf-8")
    assert world.start().wish() is None


def test_a_wish_that_cannot_be_written_does_not_hold(world: World) -> None:
    (world.folder / "control").write_text("a file in the way", encoding="utf-8")
    with pytest.raises(OSError, match="control"):
        world.control.keep(DesiredState(serve=world.weights(B)))
    assert world.control.wish() is None


def test_what_is_ready_can_be_loaded_through_its_link(world: World) -> None:
    assert world.control.staging() is None
    state = ready(A)
    world.says(state)
    assert world.control.staging() == state
    assert (world.link(A) / "model.safetensors").read_bytes() == b"a"
    assert sealed_digest(world.link(A)) == A
    assert load_of(config(staged=True), world.weights(A)) == Load(f"{LINKS}/{'a' * 16}", "a", A)


def test_weights_are_linked_once_the_wish_says_where_they_lie(world: World) -> None:
    world.says(ready(B))
    world.control.staging()
    assert not world.link(B).exists()
    world.control.keep(DesiredState(serve=world.weights(B)))
    world.control.staging()
    assert sealed_digest(world.link(B)) == B


def test_weights_that_are_not_ready_any_more_lose_their_link(world: World) -> None:
    world.says(ready(A))
    world.control.staging()
    world.says(ready(A, outcome="working"))
    world.control.staging()
    assert not world.link(A).is_symlink()


def test_files_that_the_stager_looked_at_again_are_sealed_anew(world: World) -> None:
    world.says(ready(A))
    world.control.staging()
    (world.folder / "a" / "model.safetensors").write_bytes(b"copied again")
    world.control.staging()
    with pytest.raises(BrokenSealError):
        sealed_digest(world.link(A))
    world.says(ready(A))
    world.control.staging()
    assert sealed_digest(world.link(A)) == A


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


@pytest.mark.parametrize("change", ["write", "add", "remove"])
def test_a_reader_notices_files_that_changed_after_their_verification(world: World, change: str) -> None:
    seal(world.links, digest=A, folder=world.folder / "a")
    file = world.folder / "a" / "model.safetensors"
    match change:
        case "write":
            file.write_bytes(b"z")
            os.utime(file, ns=(1, 1))
        case "add":
            (world.folder / "a" / "more.safetensors").touch()
        case _:
            file.unlink()
    with pytest.raises(BrokenSealError, match=r"\.safetensors was changed after it was verified"):
        sealed_digest(world.link(A))


def test_a_reader_notices_a_folder_that_is_gone(world: World) -> None:
    seal(world.links, digest=A, folder=world.folder / "a")
    (world.folder / "a").rename(world.folder / "moved")
    with pytest.raises(BrokenSealError, match="cannot be listed: not found"):
        sealed_digest(world.link(A))
    (world.links / f"{'a' * 16}.json").unlink()
    with pytest.raises(BrokenSealError, match="a link without its note"):
        sealed_digest(world.link(A))
    unseal(world.links, digest=A)
    assert sealed_digest(world.folder / "b") == "", "a folder that nobody sealed"


@pytest.mark.parametrize(
    ("weights", "folder"),
    [
        ({"path": "/weights/aaaaaaaaaaaaaaaa", "digest": A}, "/weights/aaaaaaaaaaaaaaaa/stage-1-of-2"),
        ({"path": "/models/llama/r2", "digest": A}, "/models/llama/r2"),
    ],
)
def test_where_a_stage_finds_its_files(weights: dict[str, Any], folder: str) -> None:
    assert own_folder(WeightsRef(id="w", served_name="llama", **weights), stage=1, stages=2) == folder


def test_weights_without_a_digest_or_a_stager_are_loaded_from_where_they_lie() -> None:
    plain = WeightsRef(path="/models/w1", id="w1", served_name="llama")
    assert not is_staged(config(staged=True), plain)
    assert not is_staged(config(), plain.model_copy(update={"digest": A}))
    assert load_of(config(staged=True), plain) == OLD
    assert not OLD.sealed


def test_what_serve_was_told_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "serve.json"
    assert told(path=path) is None
    tell(OLD, path=path)
    assert told(path=path) == OLD
    path.write_text("{}", encoding="utf-8")
    assert told(path=path) is None
