"""What has to be done from time to time on the volume of the weights: marks, leftovers, and old weights."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from llama_serving.config import names
from llama_serving.weights.staging.decide.eviction import make_room
from llama_serving.weights.staging.io.lease import mark
from llama_serving.weights.staging.io.volume import Shelf
from llama_serving.weights.staging.ports import Site, Tools


def folder_names(digests: Collection[str]) -> frozenset[str]:
    """Names of the folders of these weights on the volume."""
    return frozenset(Path(names.weights_path(digest)).name for digest in digests)


def keep_house(wanted: Collection[str], *, site: Site, tools: Tools) -> None:
    """Blocks. ``wanted`` are the names of folders that this pod may load. A volume that is not there needs nothing.

    Raises OSError.
    """
    if not site.mount.is_dir():
        return
    shelf = Shelf(site.mount, holder=site.holder, disk=tools.disk)
    for name in wanted:
        if (site.mount / name).is_dir():
            mark(site.mount / name, holder=site.holder, disk=tools.disk)
    shelf.tidy(wanted)
    space = tools.disk.space(site.mount)
    for name in make_room(needed=0, space=space, old=shelf.old(wanted), wanted=shelf.kept(wanted)).remove:
        shelf.remove(name)


def free_bytes(site: Site, tools: Tools) -> int:
    """Blocks. On the volume of the weights; 0 where there is none."""
    with suppress(OSError):
        return tools.disk.space(site.mount).free
    return 0
