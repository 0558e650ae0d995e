"""Stale files of a killed predecessor go; what others have or use stays."""

import mmap
import os
from pathlib import Path

import pytest

from llama_serving.cell.ray.cleanup import remove_ray_folder, remove_shared_memory, renew_folder, used_names

OURS = ["psm_0a1b2c", "12345-pp:0-[0-1]-cpushm-boot-1-2", "plasmaXy12", "sem.mp-a1_b2", "nccl-aZ09xY"]
OTHERS = ["nccl-abc", "nccl-my-data", "psm_not-hex", "my-data", "sem.other"]


@pytest.mark.parametrize("name", OURS)
def test_ours_goes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert remove_shared_memory(tmp_path) == [name]
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_ours_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert remove_shared_memory(tmp_path) == []
    assert (tmp_path / name).exists()


def test_what_a_process_uses_stays(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    for pid, entry in (("1", "maps"), ("2", "fd")):
        (proc / pid / "fd").mkdir(parents=True)
        (proc / pid / "maps").write_text(f"7f00-7f01 rw-s 0 00:1a 9 /dev/shm/psm_{entry}\n".replace("maps", "aa"))
    (proc / "2" / "maps").write_text("7f00-7f01 r-xp 0 00:1a 9 /usr/lib/libc.so\n")
    (proc / "2" / "fd" / "3").symlink_to("/dev/shm/psm_bb (deleted)")
    memory = tmp_path / "shm"
    memory.mkdir()
    for name in ("psm_aa", "psm_bb", "psm_cc"):
        (memory / name).touch()
    assert remove_shared_memory(memory, proc=proc) == ["psm_cc"]


def test_a_real_mapping_is_seen() -> None:
    path = Path(f"/dev/shm/psm_{os.getpid():x}")
    path.write_bytes(b"x" * mmap.PAGESIZE)
    try:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
            file.close()
            assert path.name in used_names()
        assert path.name not in used_names()
    finally:
        path.unlink()


def test_rays_folder_goes_whole(tmp_path: Path) -> None:
    folder = tmp_path / "ray"
    (folder / "session_1" / "sockets").mkdir(parents=True)
    (folder / "session_latest").symlink_to("session_1")
    remove_ray_folder(folder)
    remove_ray_folder(folder)
    assert not folder.exists()


def test_a_folder_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "of" / "logs"
    renew_folder(folder)
    (folder / "7.log").touch()
    renew_folder(folder)
    assert list(folder.iterdir()) == []
