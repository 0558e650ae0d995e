"""Certificates of openssl, and a folder with one as the kubelet mounts it."""

import subprocess
from pathlib import Path


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_pair(folder: Path, name: str, *, days: int = 30) -> tuple[bytes, bytes]:
    """A self-signed certificate for localhost and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    openssl(
        folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "k",
        "-out", "c", "-subj", f"/CN={name}", "-days", str(days), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
    )  # fmt: skip
    return (folder / "c").read_bytes(), (folder / "k").read_bytes()


class Mounted:
    """A folder as the kubelet mounts a Secret: files are links into the folder that the link ..data names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = 0
        folder.mkdir()

    def put(self, **files: bytes) -> None:
        """Another content of the Secret, at one moment."""
        self.version += 1
        target = self.folder / f"..version-{self.version}"
        target.mkdir()
        for name, text in files.items():
            (target / f"tls.{name}").write_bytes(text)
        link = self.folder / "..next"
        link.symlink_to(target.name)
        link.replace(self.folder / "..data")
        for name in files:
            path = self.folder / f"tls.{name}"
            if not path.is_symlink():
                path.symlink_to(f"..data/tls.{name}")
