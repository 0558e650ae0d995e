"""Names and files of strangers: one line, regular, inside, and never waited for."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.common.file_names import is_plain_name
from llama_serving.common.message_file import MessageReader, read_bounded, write_message
from llama_serving.common.regular_file import NotRegularError, OutsideError, folders_of_model, open_regular
from llama_serving.config.cell import WeightsRef

REF = WeightsRef(path="/w", id="x", served_name="m")


@pytest.mark.parametrize(
    "name", ["config.json", "a b.json", "модель.safetensors", "模型-00001.json", "..safetensors", "é" * 127]
)
def test_ordinary_names_are_plain(name: str) -> None:
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/etc/passwd",
        "a\nb",
        "a\rb",
        "a\x00",
        "\x1b[31m",
        "a\x7f",
        "a\x85b",
        "a\u2028b",
        "\udcff.json",
        "a" * 256,
        "é" * 128,
    ],
)
def test_strange_names_are_not(name: str) -> None:
    assert not is_plain_name(name)


@given(st.text(max_size=20))
def test_a_plain_name_is_one_line_that_utf8_can_write(name: str) -> None:
    if is_plain_name(name):
        assert len(name.splitlines()) == 1
        assert 0 < len(name.encode()) <= 255


def test_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with open_regular(tmp_path / "a", within=[tmp_path.resolve()]) as file:
        assert file.read() == b"abc"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotRegularError):
        open_regular(tmp_path / "pipe", within=())


@pytest.mark.parametrize(
    "target", ["/dev/zero", "/proc/self/environ", "/etc/passwd", "../other/a", "/proc/self/root/etc/passwd"]
)
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, target: str) -> None:
    folder, other = tmp_path / "m", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "a").write_bytes(b"secret")
    (folder / "x.json").symlink_to(target)
    with pytest.raises((NotRegularError, OutsideError)):
        open_regular(folder / "x.json", within=folders_of_model(folder))


def test_links_inside_and_to_the_blobs_of_a_cache_are_followed(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_bytes(b"blob")
    (snapshot / "x").symlink_to("../../blobs/1")
    (snapshot / "y").symlink_to("x")
    with open_regular(snapshot / "y", within=folders_of_model(snapshot)) as file:
        assert file.read() == b"blob"


def test_blobs_that_are_a_link_lead_nowhere(tmp_path: Path) -> None:
    snapshot = tmp_path / "cache" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1").write_bytes(b"secret")
    (tmp_path / "cache" / "blobs").symlink_to("../elsewhere")
    (snapshot / "x").symlink_to("../../blobs/1")
    with pytest.raises(OutsideError):
        open_regular(snapshot / "x", within=folders_of_model(snapshot))


def test_a_message_is_no_link_and_no_pipe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The other process may be taken over: a link would have the reader read, and log, what only it may see."""
    (tmp_path / "secret").write_text("hf_secret")
    (tmp_path / "message").symlink_to(tmp_path / "secret")
    reader = MessageReader(tmp_path / "message", WeightsRef)
    assert reader.read() is None
    (tmp_path / "message").unlink()
    os.mkfifo(tmp_path / "message")
    assert reader.read() is None
    (tmp_path / "message").unlink()
    (tmp_path / "message").write_text('{"path": "hf_secret"}')
    assert reader.read() is None
    assert "hf_secret" not in caplog.text


def test_a_mounted_message_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "data").write_text(REF.model_dump_json())
    (tmp_path / "next.json").symlink_to("data")
    assert MessageReader(tmp_path / "next.json", WeightsRef, follow=True).read() == REF


def test_a_message_is_bounded(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(OSError, match="too large"):
        read_bounded(tmp_path / "big", limit=1000)


def test_a_writer_follows_no_link_that_lies_in_its_way(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".message.new").symlink_to(tmp_path / "precious")
    write_message(tmp_path / "message", "hello")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "message").read_text() == "hello"
    assert (tmp_path / "message").stat().st_mode & 0o777 == 0o644
