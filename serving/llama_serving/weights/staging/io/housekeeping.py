"""Periodic work on the volume of the weights: use marks, remains of interrupted work, and old weights."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from llama_serving.config import names
from llama_serving.weights.staging.decide.eviction import plan_eviction
from llama_serving.weights.staging.dependencies import StagePod, StagerDependencies
from llama_serving.weights.staging.io.lease import mark_used
from llama_serving.weights.staging.io.volume import WeightsVolume


def folder_names(digests: Collection[str]) -> frozenset[str]:
    """Return the names of the folders of these weights on the volume."""
    return frozenset(Path(names.weights_path(digest)).name for digest in digests)


def clean_volume(wanted: Collection[str], *, pod: StagePod, deps: StagerDependencies) -> None:
    """Mark the folders that this pod may load (``wanted``: their names) and remove old weights.

    A volume that is not there needs nothing. Blocks. Raises OSError.
    """
    if not pod.mount.is_dir():
        return
    volume = WeightsVolume(pod.mount, holder=pod.holder, disk=deps.disk)
    for name in wanted:
        if (pod.mount / name).is_dir():
            mark_used(pod.mount / name, holder=pod.holder, disk=deps.disk)
    volume.clean_up(wanted)
    space = deps.disk.space(pod.mount)
    for name in plan_eviction(
        needed=0, space=space, candidates=volume.eviction_candidates(wanted), wanted=volume.count_wanted(wanted)
    ).remove:
        volume.remove(name)


def clean_adapters(wanted: Collection[str], *, pod: StagePod, deps: StagerDependencies) -> None:
    """Mark the adapters that this pod may load (``wanted``: names of their folders) and remove all that no pod wants.

    None is kept for later, unlike weights: it is small and soon brought again. Blocks. Raises OSError.
    """
    if not pod.adapters.is_dir():
        return
    volume = WeightsVolume(pod.adapters, holder=pod.holder, disk=deps.disk)
    for name in wanted:
        if (pod.adapters / name).is_dir():
            mark_used(pod.adapters / name, holder=pod.holder, disk=deps.disk)
    volume.clean_up(wanted)
    for candidate in volume.eviction_candidates(wanted):
        volume.remove(candidate.name)


def free_bytes(pod: StagePod, deps: StagerDependencies) -> int:
    """Return the bytes free on the volume of the weights; 0 where there is none. Blocks."""
    with suppress(OSError):
        return deps.disk.space(pod.mount).free
    return 0
