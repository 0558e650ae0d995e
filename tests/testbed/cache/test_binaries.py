"""When a program is built, and where it is taken from."""

from pathlib import Path

import pytest

from testbed.cache import binaries
from testbed.cache.folder import REPOSITORY
from testbed.errors import BedError


def test_the_cache_key_follows_the_modules_content() -> None:
    files = {"go.mod": b"a", "go.sum": b"b"}
    key = binaries.module_key(files, ldflags="-s")
    assert key == binaries.module_key(dict(reversed(files.items())), ldflags="-s")
    assert key != binaries.module_key({**files, "go.sum": b"c"}, ldflags="-s")
    assert key != binaries.module_key({**files, "main.go": b""}, ldflags="-s")
    assert key != binaries.module_key(files, ldflags="-w")


def test_kubernetes_version_is_the_pinned_one() -> None:
    module = (REPOSITORY / "testbed" / "go" / "kube" / "go.mod").read_text()
    assert f"k8s.io/kubernetes {binaries.KUBERNETES} " in module
    assert "gitMinor=37" in binaries.ALL["kubelet"].ldflags


def test_every_program_has_a_pinned_module() -> None:
    for binary in binaries.ALL.values():
        folder = REPOSITORY / "testbed" / "go" / binary.module
        assert (folder / "go.mod").is_file(), binary
    assert {*binaries.CONTROL_PLANE, *binaries.NODES} < set(binaries.ALL)


def test_programs_in_kubebuilder_assets_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    for name in binaries.CONTROL_PLANE:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert binaries.ensure(binaries.CONTROL_PLANE) == {name: tmp_path / name for name in binaries.CONTROL_PLANE}


def test_without_go_the_sentence_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    with pytest.raises(BedError, match=r"Go 1\.26 or newer is needed to build etcd: .*https://go\.dev/dl/"):
        binaries.ensure(["etcd"])
    assert not list(tmp_path.rglob("etcd"))
