"""Messages between two processes: a reader sees whole messages only, and keeps the last good one."""

import logging
import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from llama_serving.common.message_file import MessageReader, read_message, write_message


class Message(BaseModel):
    number: int


def test_a_message_is_replaced_as_a_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "message.json"
    assert read_message(path) is None
    write_message(path, "first, longer")
    write_message(path, "Grüße")
    assert read_message(path) == "Grüße"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in tmp_path.iterdir()] == ["message.json"]


def test_a_message_that_cannot_be_read_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_message(tmp_path) is None
    assert f"Cannot read {tmp_path}" in caplog.text


def test_a_message_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "message.json"
    write_message(path, "old")
    (tmp_path / ".message.json.new").mkdir()
    with pytest.raises(OSError, match="message"):
        write_message(path, "new")
    assert read_message(path) == "old"


def test_a_reader_keeps_the_last_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "message.json"
    reader = MessageReader(path, Message)
    assert (reader.read(), reader.version) == (None, None)
    write_message(path, '{"number": 1}')
    assert reader.read() == Message(number=1)
    version = reader.version
    write_message(path, '{"number": ')
    with caplog.at_level(logging.ERROR):
        assert [reader.read(), reader.read()] == [Message(number=1)] * 2
    assert caplog.text.count("Cannot read") == 1
    assert reader.version == version
    path.unlink()
    assert reader.read() == Message(number=1)
    write_message(path, '{"number": 2}')
    assert reader.read() == Message(number=2)


def test_a_file_that_was_not_replaced_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "message.json"
    write_message(path, '{"number": 1}')
    reader = MessageReader(path, Message)
    first = reader.read()
    assert reader.read() is first
    version = reader.version
    os.utime(path, ns=(1, 1))
    assert reader.read() == first
    assert reader.version != version
