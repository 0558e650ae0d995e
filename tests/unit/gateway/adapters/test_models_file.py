"""The file with the names of models, as the kubelet changes it."""

import json
import logging
from pathlib import Path

import pytest

from llama_serving.config.gateway import LONGEST_MODELS, MOST_ADAPTERS, ServedModels
from llama_serving.gateway.adapters.models_file import ModelsFile


class Told(list[list[str] | None]):
    """What was told, in order."""

    def take(self, models: ServedModels | None) -> None:
        self.append(None if models is None else [one.name for one in models.adapters])


def text_of(*names: str, **more: object) -> str:
    return json.dumps({"adapters": [{"name": name, "parent": "llama"} for name in names], **more})


def publish(folder: Path, generation: str, text: str | None) -> None:
    """Change the mount as the kubelet does: another folder, then the link."""
    target = folder / f"..{generation}"
    target.mkdir()
    if text is not None:
        (target / "models.json").write_text(text)
    link = folder / "..next"
    link.symlink_to(target.name)
    link.rename(folder / "..data")
    file = folder / "models.json"
    if not file.is_symlink():
        file.symlink_to("..data/models.json")


def test_a_change_is_told_once(tmp_path: Path) -> None:
    told = Told()
    file = ModelsFile(tmp_path / "models.json", told.take)
    file.look()
    publish(tmp_path, "1", text_of("style"))
    for _ in range(3):
        file.look()
    publish(tmp_path, "2", text_of("style", "tone", later="fields of a newer operator"))
    file.look()
    publish(tmp_path, "3", None)
    file.look()
    assert told == [["style"], ["style", "tone"], None]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"adapters": 3}', text_of(""), " " * (LONGEST_MODELS + 1), text_of(*"a" * (MOST_ADAPTERS + 1))],
    ids=["empty", "cut", "list", "number", "no name", "too long", "too many"],
)
def test_what_cannot_be_read_changes_nothing_and_is_said_once(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    file = ModelsFile(tmp_path / "models.json", told.take)
    publish(tmp_path, "1", text_of("style"))
    file.look()
    publish(tmp_path, "2", text)
    for _ in range(3):
        file.look()
    assert told == [["style"]]
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1
