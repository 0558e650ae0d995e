"""What a rank writes is what its supervisor reads, whenever it reads."""

import os
import threading
import time
from pathlib import Path

from llama_serving.cell.shared.heartbeat import PREFIX, HeartbeatWriter, read_heartbeats


def test_calls_are_counted(tmp_path: Path) -> None:
    writer = HeartbeatWriter(3, folder=tmp_path)
    beat = read_heartbeats(tmp_path)[3]
    assert (beat.rank, beat.pid, beat.step, beat.begun, beat.ended, beat.doing) == (3, os.getpid(), 0, 0, 0, "")
    writer.begin("execute_model", is_step=True)
    beat = read_heartbeats(tmp_path)[3]
    assert (beat.step, beat.begun, beat.ended, beat.doing) == (1, 1, 0, "execute_model")
    assert 0 <= time.monotonic() - beat.changed < 60
    writer.end("execute_model")
    writer.begin("sample_tokens")
    writer.end("sample_tokens")
    beat = read_heartbeats(tmp_path)[3]
    assert (beat.step, beat.begun, beat.ended, beat.doing) == (1, 2, 2, "sample_tokens")


def test_a_call_that_is_not_measured_does_not_count_as_the_longest(tmp_path: Path) -> None:
    writer = HeartbeatWriter(0, folder=tmp_path)
    writer.begin("reload_rank")
    writer.end("reload_rank", is_measured=False)
    assert read_heartbeats(tmp_path)[0].longest == 0
    writer.begin("execute_model")
    writer.end("execute_model")
    assert read_heartbeats(tmp_path)[0].longest > 0


def test_a_new_process_of_a_rank_takes_over_from_one_that_still_writes(tmp_path: Path) -> None:
    old, new = HeartbeatWriter(0, folder=tmp_path), HeartbeatWriter(0, folder=tmp_path)
    old.begin("execute_model", is_step=True)
    assert read_heartbeats(tmp_path)[0].begun == 0
    new.begin("execute_model", is_step=True)
    assert read_heartbeats(tmp_path)[0].begun == 1
    assert [path.name for path in tmp_path.iterdir()] == [f"{PREFIX}0"]


def test_what_is_not_a_heartbeat_is_none(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}1").write_bytes(b"short")
    (tmp_path / f"{PREFIX}x").write_bytes(bytes(80))
    (tmp_path / "psm_1").write_bytes(b"")
    assert read_heartbeats(tmp_path) == {}
    assert read_heartbeats(tmp_path / "missing") == {}


def test_a_reader_sees_whole_states_only(tmp_path: Path) -> None:
    writer, over = HeartbeatWriter(0, folder=tmp_path), threading.Event()

    def write() -> None:
        while not over.is_set():
            writer.begin("execute_model", is_step=True)
            writer.end("execute_model")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = [read_heartbeats(tmp_path)[0] for _ in range(300)]
    finally:
        over.set()
        thread.join()
    assert all(beat.begun - beat.ended in (0, 1) and beat.step == beat.begun for beat in seen)
    assert [beat.begun for beat in seen] == sorted(beat.begun for beat in seen)
