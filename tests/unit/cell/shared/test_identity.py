"""Who a pod is, and what it says when it cannot know."""

from pathlib import Path

import pytest

from llama_serving.cell.shared.identity import ConfigError, Identity, read_identity
from tests.unit.cell.worlds import config

ENVIRONMENT = {"LLAMA_STAGE": "1", "POD_IP": "10.0.0.7"}


def read(folder: Path, *, text: str | None = None, **environment: str) -> Identity:
    path = folder / "cell.json"
    path.write_text(config().model_dump_json() if text is None else text, encoding="utf-8")
    return read_identity(config_path=path, token_path=folder / "token", environment=ENVIRONMENT | environment)


def test_file_and_environment_say_who_this_is(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n", encoding="utf-8")
    me = read(tmp_path)
    assert (me.stage, me.ip, me.is_leader, me.leader_host, me.stages) == (1, "10.0.0.7", False, "stage-0.demo", 2)
    assert me.token() == "secret"
    assert read(tmp_path, LLAMA_STAGE="0").is_leader


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"LLAMA_STAGE": "2"}, "LLAMA_STAGE is '2'; expected 0 to 1"),
        ({"LLAMA_STAGE": ""}, "LLAMA_STAGE is ''"),
        ({"LLAMA_STAGE": "-1"}, "LLAMA_STAGE is '-1'"),
        ({"POD_IP": ""}, "POD_IP is not set"),
    ],
)
def test_a_wrong_environment_is_named(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, **changes)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"deployment": 3}'])
def test_a_wrong_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="is not the config of a cell"):
        read(tmp_path, text=text)


def test_a_host_for_each_stage(tmp_path: Path) -> None:
    text = config(stage_hosts=("only-one",)).model_dump_json()
    with pytest.raises(ConfigError, match="names 1 hosts for 2 stages"):
        read(tmp_path, text=text)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_identity(config_path=tmp_path / "none", token_path=tmp_path, environment=ENVIRONMENT)
