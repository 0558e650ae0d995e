"""What besides tensors makes weights another model for an engine that runs."""

import json
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pytest

from llama_serving.cell.policy.weight_swap import asset_difference
from llama_serving.cell.supervisor.model_assets import read_assets
from llama_serving.weights.model.chat import read_chat
from llama_serving.weights.model.folder import ModelFolder, open_folder

CONFIG = {"rope_theta": 500000.0, "dtype": "bfloat16", "transformers_version": "5.0", "rope_scaling": {"a": 1, "b": 2}}


def changed(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (CONFIG | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("config", "files", "differs"),
    [
        (CONFIG, {}, ""),
        (changed(transformers_version="5.1", _name_or_path="here"), {}, ""),
        (changed(rope_scaling={"b": 2, "a": 1}), {}, ""),
        (changed(dtype=None, torch_dtype="bfloat16"), {}, ""),
        (changed(dtype="float16"), {}, "dtype in config.json"),
        (changed(rope_theta=10000.0), {}, "rope_theta in config.json"),
        (changed(rms_norm_eps=1e-6), {}, "rms_norm_eps in config.json"),
        (CONFIG, {"tokenizer.json": '{"a": 1}'}, "tokenizer.json"),
        (CONFIG, {"chat_template.jinja": "{{ x }}"}, "chat_template.jinja"),
        (CONFIG, {"generation_config.json": "{}"}, "generation_config.json"),
        (CONFIG, {"tokenizer_config.json": '{"chat_template": ""}'}, "tokenizer_config.json"),
        (CONFIG, {"added_tokens.json": '{"<think>": 7}'}, "added_tokens.json"),
        (CONFIG, {"tokenizer.model": "<think>"}, "tokenizer.model"),
        (CONFIG, {"model.safetensors": "other", "staged.json": "{}", "model.safetensors.index.json": "{}"}, ""),
        (CONFIG, {"a.json": "", "b.json": "", "c.json": "", "d.json": ""}, "a.json, b.json, c.json and 1 more"),
    ],
)
def test_what_differs_is_named(*, tmp_path: Path, config: dict[str, Any], files: dict[str, str], differs: str) -> None:
    def folder(name: str, config: dict[str, Any], files: dict[str, str]) -> dict[str, str]:
        path = tmp_path / name
        path.mkdir()
        (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        for file, text in ({"tokenizer.json": "{}", "model.safetensors": "x"} | files).items():
            (path / file).write_text(text, encoding="utf-8")
        return read_assets(str(path))

    assert asset_difference(folder("before", CONFIG, {}), folder("after", config, files)) == differs


def test_a_folder_that_cannot_be_read_differs_from_nothing(tmp_path: Path) -> None:
    assert read_assets(str(tmp_path / "none")) == {}
    (tmp_path / "config.json").write_text("[1]", encoding="utf-8")
    assert read_assets(str(tmp_path)) == {}
    assert asset_difference({}, {"tokenizer.json": "1"}) == ""


class WatchedFolder(ModelFolder):
    """Remembers which of its files were opened."""

    opened: ClassVar[set[str]] = set()

    def open(self, name: str) -> BinaryIO:
        self.opened.add(name)
        return super().open(name)


def test_every_file_that_parsers_are_inferred_from_restarts_the_engine_when_it_differs(tmp_path: Path) -> None:
    names = {"tokenizer_config.json", "chat_template.jinja", "tokenizer.json", "added_tokens.json", "tokenizer.model"}
    for name in {*names, "config.json"}:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    folder = open_folder(tmp_path)
    read_chat(WatchedFolder(folder.path, folder.names))
    assert WatchedFolder.opened == names
    assert names <= read_assets(str(tmp_path)).keys()
