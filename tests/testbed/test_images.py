"""Images as data: the same content is the same image, and what buildah stored is read as it is."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from testbed.cache.folder import REPOSITORY
from testbed.errors import BedError
from testbed.images import bases, build, oci, runtime, storage


def test_a_layer_is_a_function_of_its_files() -> None:
    one = oci.layer({"/b": (b"2", 0o644), "/a": (b"1", 0o755)})
    assert one == oci.layer({"/a": (b"1", 0o755), "/b": (b"2", 0o644)})
    with tarfile.open(fileobj=io.BytesIO(one.data)) as tar:
        assert [(m.name, m.mode, m.uid, m.mtime) for m in tar] == [("a", 0o755, 0, 0), ("b", 0o644, 0, 0)]


def test_chain_ids_are_those_of_the_specification() -> None:
    # sha256 of "<chain of the layers below> <digest of this layer>"
    chains = oci.chain(["sha256:aa", "sha256:bb", "sha256:cc"])
    assert chains[0] == "sha256:aa"
    assert chains[1] == oci.Blob(b"sha256:aa sha256:bb").digest
    assert chains[2] == oci.Blob(f"{chains[1]} sha256:cc".encode()).digest


def test_an_archive_names_the_image_and_may_leave_layers_out() -> None:
    layer = oci.layer({"/pause": (b"x", 0o755)})
    manifest, config = oci.scratch_image([layer], config={"User": "65535:65535"})
    data = oci.archive(["localhost/a:1", "localhost/a:2"], manifest=manifest, blobs=[config])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        index = json.loads(tar.extractfile("index.json").read())  # type: ignore[union-attr]
    named = [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]]
    assert named == ["localhost/a:1", "localhost/a:2"]
    assert f"blobs/sha256/{layer.digest[7:]}" not in names
    assert f"blobs/sha256/{config.digest[7:]}" in names
    assert json.loads(config.data)["rootfs"]["diff_ids"] == [layer.digest]


@pytest.mark.parametrize(
    ("mount", "folder"),
    [
        ("mount -t bind /r/snapshots/1/fs /mnt -o rbind,rw\n", "/r/snapshots/1/fs"),
        (
            "mount -t overlay overlay /mnt -o index=off,workdir=/r/2/work,upperdir=/r/2/fs,lowerdir=/r/1/fs\n",
            "/r/2/fs",
        ),
    ],
)
def test_a_snapshots_folder_is_read_from_its_mount(mount: str, folder: str) -> None:
    assert runtime.upper_folder(mount) == Path(folder)


def test_an_unknown_mount_is_an_error() -> None:
    with pytest.raises(BedError, match="cannot find the folder"):
        runtime.upper_folder("mount -t nfs a b")


def stored(root: Path) -> None:
    """Write a store as buildah does: one image of two layers with two names."""
    config = b'{"config": true}'
    image = root / "overlay-images" / "abc"
    image.mkdir(parents=True)
    (image / "manifest").write_bytes(b"{}")
    (image / ("=" + base64.b64encode(b"sha256:abc").decode())).write_bytes(config)
    records = [{"id": "abc", "names": ["localhost/x:dev", "localhost/x:123"], "layer": "top"}, {"id": "nameless"}]
    (root / "overlay-images" / "images.json").write_text(json.dumps(records))
    layers = [
        {"id": "top", "parent": "bottom", "diff-digest": "sha256:2"},
        {"id": "bottom", "diff-digest": "sha256:1"},
    ]
    (root / "overlay-layers").mkdir()
    (root / "overlay-layers" / "layers.json").write_text(json.dumps(layers))


def test_buildahs_store_is_read(tmp_path: Path) -> None:
    stored(tmp_path)
    assert storage.names(tmp_path) == {"localhost/x:dev", "localhost/x:123"}
    image = storage.read(tmp_path, "localhost/x:dev")
    assert image.names == ("localhost/x:dev", "localhost/x:123")
    assert [layer.diff_id for layer in image.layers] == ["sha256:1", "sha256:2"]
    assert image.layers[0].folder == tmp_path / "overlay" / "bottom" / "diff"
    assert image.config.data == b'{"config": true}'


def test_an_image_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    assert storage.names(tmp_path) == set()
    with pytest.raises(BedError, match="there is no image 'localhost/x:dev'"):
        storage.read(tmp_path, "localhost/x:dev")


def test_the_inputs_digest_follows_content_mode_and_parameters_and_nothing_else(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("1")

    def digest(**parameters: str) -> str:
        return build.inputs_digest(tmp_path, ["code"], parameters=parameters)

    first = digest()
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "a.pyc").write_text("x")
    assert digest() == first
    assert digest(BASE="other") != first
    (code / "a.py").chmod(0o755)
    assert digest() != first
    (code / "a.py").chmod(0o644)
    (code / "b.py").write_text("")
    assert digest() != first


def test_the_inputs_are_what_the_dockerfiles_copy() -> None:
    for name, folder in ((build.OPERATOR, "operator"), (build.SERVING, "serving")):
        inputs = build.INPUTS[name]
        lines = (REPOSITORY / folder / "Dockerfile").read_text().splitlines()
        copied = [
            path for line in lines if line.startswith("COPY ") and "--from" not in line for path in line.split()[1:-1]
        ]
        assert copied, folder
        assert [path for path in copied if path not in inputs] == []


def test_former_states_of_our_images_are_outdated_and_nothing_else() -> None:
    names = ["localhost/a:dev", "localhost/a:new", "localhost/a:old", "localhost/other:old"]
    assert build.outdated(names, current={"localhost/a:new"}) == ["localhost/a:old"]


def test_a_base_is_named_after_its_recipe() -> None:
    assert bases.SYSTEM.image.startswith("localhost/llama-testbed-system:")
    other = bases.Base(bases.SYSTEM.name, bases.SYSTEM.variant, (*bases.SYSTEM.packages, "vim"))
    assert other.image != bases.SYSTEM.image


def test_the_machines_authorities_are_found(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("x")
    assert bases.certificates({"REQUESTS_CA_BUNDLE": str(bundle)}) == bundle
    assert bases.certificates({"SSL_CERT_FILE": str(tmp_path / "gone")}) is None
    assert bases.certificates({}) is None


def test_uv_is_found_where_make_setup_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fresh machine no uv is on the PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BedError, match="make setup"):
        bases.uv_command()
    program = tmp_path / "llama-operator" / "uv-0.13.9" / "bin" / "uv"
    program.parent.mkdir(parents=True)
    program.touch()
    assert bases.uv_command() == str(program)


@pytest.mark.parametrize(("folder", "ends"), [(Path("operator/image"), True), (Path("operator"), False)])
def test_a_program_of_the_operators_image_hears_sigterm_while_it_imports(folder: Path, ends: bool) -> None:
    """As process 1 of a PID namespace; without the image's start-up file the kernel drops the signal."""
    importing = "import time; print('up', flush=True); time.sleep(60)"
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", importing]
    environment = os.environ | {"PYTHONPATH": str(folder.resolve())}
    outer = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert outer.stdout is not None
        assert outer.stdout.readline() == "up\n"
        child = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text(encoding="ascii"))
        os.kill(child, signal.SIGTERM)
        if ends:
            assert outer.wait(timeout=30) == 0
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                outer.wait(timeout=1)
    finally:
        outer.kill()
        outer.communicate()
