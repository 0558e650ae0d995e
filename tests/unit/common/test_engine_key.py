"""The key between gateways and engines: who has none, and who cannot read it."""

from pathlib import Path

from llama_serving.common.engine_key import LOOK_PERIOD, EngineKey


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_file_nobody_is_asked_and_nothing_is_sent(tmp_path: Path) -> None:
    key = EngineKey(tmp_path / "key")
    assert (key.header_line(), key.headers(), key.is_right(b"")) == (b"", {}, True)


def test_with_a_file_only_its_key_is_right(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("abc123\n")
    key = EngineKey(tmp_path / "key")
    assert key.header_line() == b"x-llama-engine-key: abc123\r\n"
    assert key.headers() == {"x-llama-engine-key": "abc123"}
    assert [key.is_right(given) for given in (b"abc123", b"", b"abc124", b"abc123 ")] == [True, False, False, False]


def test_a_file_without_a_key_lets_nobody_pass(tmp_path: Path) -> None:
    for content in (b"", b"a b", b"a\r\nx-evil: 1", "\u00e9".encode("latin-1")):
        (tmp_path / "key").write_bytes(content)
        key = EngineKey(tmp_path / "key")
        assert (key.is_right(b""), key.is_right(content), key.header_line()) == (False, False, b"")
    assert not EngineKey(tmp_path).is_right(b""), "a folder cannot be read"


def test_another_key_counts_within_a_second_and_a_lost_file_changes_nothing(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "key"
    path.write_text("one")
    key = EngineKey(path, clock=clock)
    assert key.is_right(b"one")
    path.write_text("two")
    assert key.is_right(b"one")
    clock.now += LOOK_PERIOD
    assert key.is_right(b"two")
    path.unlink()
    clock.now += LOOK_PERIOD
    assert key.is_right(b"two")
    assert not key.is_right(b"")
