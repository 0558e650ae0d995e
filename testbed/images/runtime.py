"""A node's image store, reached through `ctr`.

An image that buildah built is brought to a node without moving its data: each layer's files are hard links to
buildah's, and only the manifest and the configuration are imported. So every node has the files once on disk and
once in the page cache together with all others, and a big layer takes seconds instead of minutes.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.errors import BedError
from testbed.images import oci
from testbed.images.storage import Image, Layer

# What a snapshot carries while nothing refers to it, so that containerd does not collect it as garbage.
_KEEP: Final = "containerd.io/gc.root"


@dataclass(frozen=True)
class Runtime:
    """The container runtime of one node.

    Attributes:
        socket: containerd's socket, reachable from the host.
    """

    socket: Path

    def ctr(self, *arguments: str, data: bytes | None = None) -> str:
        """Run `ctr` in the namespace of Kubernetes' images and return its output.

        Raises:
            BedError: it failed; the message holds what it said.
        """
        argv = ["ctr", f"--address={self.socket}", "--namespace=k8s.io", *arguments]
        done = subprocess.run(argv, input=data, capture_output=True)
        if done.returncode:
            raise BedError(f"`{' '.join(argv)}` failed: {done.stderr.decode(errors='replace')[-2000:]}")
        return done.stdout.decode()

    def ready(self) -> str:
        """Return an empty text when the runtime answers, else why not."""
        try:
            self.ctr("version")
        except BedError as error:
            return str(error)
        return ""

    def images(self) -> dict[str, str]:
        """Return the digest of each image by its name."""
        lines = (line.split() for line in self.ctr("images", "list").splitlines()[1:])
        return {fields[0]: fields[2] for fields in lines}

    def load(self, archive: bytes) -> None:
        """Import an OCI archive; its layers may be left out where the node has their snapshots."""
        self.ctr("images", "import", "-", data=archive)

    def link(self, image: Image) -> None:
        """Give the node an image of buildah's store."""
        chains = oci.chain([layer.diff_id for layer in image.layers])
        present = self._snapshots()
        linked = []
        for layer, name, parent in zip(image.layers, chains, ["", *chains], strict=False):
            if name not in present:
                self._link_layer(layer, name=name, parent=parent)
                linked.append(name)
        self.load(oci.archive(image.names, manifest=image.manifest, blobs=[image.config]))
        for name in linked:  # from here on the image keeps them
            self.ctr("snapshots", "label", name, f"{_KEEP}=")

    def _snapshots(self) -> set[str]:
        return {line.split()[0] for line in self.ctr("snapshots", "list").splitlines()[1:]}

    def _link_layer(self, layer: Layer, *, name: str, parent: str) -> None:
        draft = f"linking-{name}"
        if draft in self._snapshots():  # cut off earlier
            self.ctr("snapshots", "remove", draft)
        self.ctr("snapshots", "prepare", draft, *([parent] if parent else []))
        folder = upper_folder(self.ctr("snapshots", "mounts", "/mnt", draft))
        done = subprocess.run(["cp", "-al", f"{layer.folder}/.", str(folder)], capture_output=True, text=True)
        if done.returncode:
            raise BedError(f"linking {layer.folder} to {folder} failed: {done.stderr[-1000:]}")
        self.ctr("snapshots", "commit", name, draft)


def upper_folder(mount: str) -> Path:
    """Return the folder that a snapshot writes to, from the mount command that `ctr` prints for it.

    A snapshot without a parent is a bind mount of its folder; one with a parent is an overlay with it on top.
    """
    found = re.search(r"upperdir=([^,\s]+)", mount) or re.search(r"mount -t bind (\S+)", mount)
    if found is None:
        raise BedError(f"cannot find the folder of a snapshot in `{mount.strip()}`")
    return Path(found.group(1))


def pause_archive(name: str, program: bytes) -> bytes:
    """Return the archive of the image that holds a pod's namespaces."""
    layer = oci.layer({"/pause": (program, 0o755)})
    manifest, config = oci.scratch_image([layer], config={"Entrypoint": ["/pause"], "User": "65535:65535"})
    return oci.archive([name], manifest=manifest, blobs=[config, layer])
