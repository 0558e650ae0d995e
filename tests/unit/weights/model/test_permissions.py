"""What a pod may not read is named: the file, its mode and owner, who the pod is, and the command that mends it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_serving.config.model import ModelReport
from llama_serving.config.names import SERVING_UID
from llama_serving.config.reasons import CellReason
from llama_serving.weights.model.inspection import encode, inspect
from tests.unit.weights.model.folders import SECOND, make_model

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A model in a place that others may enter; pytest's own folders are closed to them."""
    place = Path(tempfile.mkdtemp(prefix="llama-inspect-"))
    place.chmod(0o755)
    yield make_model(place / "m")
    shutil.rmtree(place)


def inspect_as_pod(folder: Path) -> ModelReport:
    """The report of a child process that runs as the pods do."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing of the test run may go on here, whatever happens.
        try:
            os.setgroups([])
            os.setgid(SERVING_UID)
            os.setuid(SERVING_UID)
            os.write(writer, encode(inspect(folder)))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return ModelReport.model_validate_json(text)


def test_a_folder_that_others_may_read_is_accepted(folder: Path) -> None:
    assert inspect_as_pod(folder).outcome == "accepted"


@pytest.mark.parametrize("name", [SECOND, "config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_a_file_for_its_owner_only(folder: Path, name: str) -> None:
    (folder / name).chmod(0o600)
    report = inspect_as_pod(folder)
    assert report.reason == CellReason.WEIGHTS_UNREADABLE
    assert report.message == (
        f"uid 10001 may not read {folder / name} (mode 0600, owner uid 0 gid 0): "
        "run chmod a+r on it, and check the model's other files"
    )


def test_a_folder_that_may_not_be_listed(folder: Path) -> None:
    folder.chmod(0o711)
    report = inspect_as_pod(folder)
    assert f"uid 10001 may not list {folder} (mode 0711, owner uid 0 gid 0): run chmod a+rx" in report.message


def test_a_folder_that_may_be_listed_but_not_entered(folder: Path) -> None:
    folder.chmod(0o744)
    assert f"uid 10001 may not enter {folder} (mode 0744" in inspect_as_pod(folder).message


def test_a_closed_folder_above(folder: Path) -> None:
    folder.parent.chmod(0o700)
    assert f"uid 10001 may not enter {folder.parent} (mode 0700" in inspect_as_pod(folder).message
