"""Checkpoints are read by pods that run as another user than their maker."""

from pathlib import Path


def make_readable(folder: Path) -> None:
    """Folder 0755, its files 0644. (safetensors writes 0600.)"""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o644)
