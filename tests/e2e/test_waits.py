"""What the status says of waits, within seconds of the cause; meanwhile the pair is left alone (test_idle.py)."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from examples import models
from examples.cluster import folder_claim
from tests.e2e.support.bed import NAMESPACE, Bed, Object, ended, manifest, unscheduled, waits_for_image

pytestmark = pytest.mark.usefixtures("pair")


def test_an_impossible_node_selector_is_named(bed: Bed) -> None:
    bed.kubectl.apply(manifest("nowhere", placement={"nodeSelector": {"gpu": "none-such"}}))
    bed.wait_explained("nowhere", "Unschedulable", "node affinity/selector", cause=unscheduled)
    bed.kubectl("delete", "llamadeployment", "nowhere")


def test_a_device_that_no_node_has_is_counted(bed: Bed) -> None:
    gpus = {"device": {"resource": "nvidia.com/gpu", "count": 2}, "sharding": {"pipeline": 2, "tensor": 2}}
    bed.kubectl.apply(manifest("no-gpus", **gpus, placement={}))
    found = bed.wait_for("no-gpus", lambda d: d["status"].get("reason") == "LayoutRefused" or
                         d["status"].get("reason") == "Unschedulable", within=60, what="Unschedulable")  # fmt: skip
    assert "2 nvidia.com/gpu" in found["status"]["message"], found["status"]["message"]
    assert "2 short" in found["status"]["message"], found["status"]["message"]
    bed.kubectl("delete", "llamadeployment", "no-gpus")


def test_a_missing_image_is_named(bed: Bed) -> None:
    images = {"gateway": "localhost/none-such:1", "pullPolicy": "Never"}
    bed.kubectl.apply(manifest("no-image", images=images))
    bed.wait_explained("no-image", "ImageUnavailable", "localhost/none-such:1", cause=waits_for_image)
    bed.kubectl("delete", "llamadeployment", "no-image")


def test_a_missing_secret_is_named(bed: Bed) -> None:
    model = manifest("x")["spec"]["model"] | {"source": "https://models.example.com/m", "credentialsSecret": "hub"}
    bed.kubectl.apply(manifest("no-secret", model=model))
    bed.wait_for("no-secret", explained("ReferenceMissing", f"the Secret hub does not exist in namespace {NAMESPACE}",
                 "(model.credentialsSecret)"), within=20, what="ReferenceMissing")  # fmt: skip
    bed.kubectl("delete", "llamadeployment", "no-secret")


def test_a_missing_claim_is_named(bed: Bed) -> None:
    model = manifest("x")["spec"]["model"] | {"source": "pvc://none-such/m"}
    bed.kubectl.apply(manifest("no-claim", model=model))
    bed.wait_for("no-claim", explained("VolumeUnavailable", f"claim none-such does not exist in namespace {NAMESPACE}",
                 "(model.source pvc://none-such/...)"), within=20, what="VolumeUnavailable")  # fmt: skip
    bed.kubectl("delete", "llamadeployment", "no-claim")


def explained(reason: str, *words: str) -> Callable[[Object], bool]:
    """The status has this reason, and these words in its sentence."""

    def check(found: Object) -> bool:
        status = found.get("status") or {}
        return status.get("reason") == reason and all(word in status.get("message", "") for word in words)

    return check


def test_unreadable_weights_are_named_and_heal(bed: Bed, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models.tiny(), folder)
    for part in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        part.chmod(0o755)
    (folder / "model.safetensors").chmod(0o600)
    bed.kubectl.apply(*folder_claim(NAMESPACE, "unreadable", folder))
    bed.kubectl.apply(manifest("unreadable", model=manifest("x")["spec"]["model"] | {"source": "pvc://unreadable/"}))
    bed.wait_explained("unreadable", "WeightsUnreadable", "model.safetensors", "0600", "chmod", cause=ended)
    (folder / "model.safetensors").chmod(0o644)
    bed.wait_for(
        "unreadable", lambda d: d["status"].get("model", {}).get("outcome") == "accepted", within=60, what="accepted"
    )
    bed.kubectl("delete", "llamadeployment", "unreadable")
    bed.kubectl("delete", "persistentvolumeclaim", "unreadable")
    bed.kubectl("delete", "persistentvolume", f"{NAMESPACE}-unreadable")
