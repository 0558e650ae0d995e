"""A cell of two pods with two ranks each in the GPU image, up to the driver: all of a start but the devices is real.

Each pod is a container of the image with a network of its own. Ray's cluster, Serve, the engine's core and its four
actors come up on devices of paper, and the first call of CUDA says that there is no driver.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_serving.config import names
from llama_serving.config.cell import CellConfig, CellTimeouts, Layout, WeightsRef
from testbed.images.gpu import Built
from tests.gpu_image.container import POD, Container, node_layer

pytestmark = pytest.mark.timeout(3600)

PIPELINE, TENSOR = 2, 2
NETWORK = "10.91.8"
TOKEN = "f3a1c2" * 8
WITHIN = 1500  # seconds; four actors import vLLM one after the other, on a machine that may do other things
#: What PyTorch says when the first rank takes its device.
NO_DRIVER = "Found no NVIDIA driver"
CONFIG = CellConfig(
    deployment="demo", namespace="default", group=0, pod_hash="r1", context_length=512, max_num_seqs=8,
    stage_hosts=tuple(f"stage-{stage}.cell" for stage in range(PIPELINE)),
    weights=WeightsRef(path=f"{POD}/model", id="one", served_name="llama"),
    layout=Layout(pipeline=PIPELINE, tensor=TENSOR, device="gpu"),
    timeouts=CellTimeouts(join=600, start=1200, drain=30),
)  # fmt: skip


def address(stage: int) -> str:
    return f"{NETWORK}.{stage + 1}"


@pytest.fixture
def pods(image: Built, tmp_path: Path) -> Iterator[list[Container]]:
    """Two pods on a wire, with the files that the operator and the stager would give them."""
    folder = tmp_path / "pod"
    folder.mkdir()
    folder.chmod(0o777)  # the user of the image makes the model in it
    (folder / "cell.json").write_text(CONFIG.model_dump_json(), encoding="utf-8")
    (folder / "token").write_text(TOKEN, encoding="ascii")
    (folder / "devices").write_text(f"count {TENSOR}\n", encoding="ascii")
    for stage in range(PIPELINE):
        control = folder / f"control-{stage}"
        control.mkdir()
        control.chmod(0o777)
    hosts = "".join(f"{address(stage)} {host}\n" for stage, host in enumerate(CONFIG.stage_hosts))
    node = node_layer(tmp_path / "node", hosts=hosts)
    model = tmp_path / "node/opt/probes/testbed/models"
    model.mkdir(parents=True)
    for path in (Path(__file__).parents[2] / "testbed/models").glob("*.py"):
        (model / path.name).write_bytes(path.read_bytes())
    with contextlib.ExitStack() as stack:
        found = [
            stack.enter_context(
                Container(image, node, folder, {"PAPER_NVML": f"{POD}/devices", names.ENV_STAGE: str(stage),
                                                names.ENV_POD_IP: address(stage)})
            )
            for stage in range(PIPELINE)
        ]  # fmt: skip
        _connect(*found)
        yield found


def _connect(one: Container, other: Container) -> None:
    """Lay a wire between the two networks; nothing of it is seen outside of them."""
    ends = ["type", "veth", "peer", "name", "eth0", "netns", other.pid]
    subprocess.run(["ip", "link", "add", "eth0", "netns", one.pid, *ends], check=True)
    for stage, pod in enumerate((one, other)):
        for command in (
            ("ip", "address", "add", f"{address(stage)}/24", "dev", "eth0"),
            ("ip", "link", "set", "eth0", "up"),
            ("ip", "route", "add", "default", "via", address(1 - stage)),
            ("hostname", f"stage-{stage}"),
        ):
            subprocess.run(pod.enter(*command), check=True)


def state(pod: Container, stage: int) -> dict[str, Any]:
    """What the operator would read of the stage."""
    url = f"http://{address(stage)}:{names.PORT_STATE}{names.ROUTE_STATE}"
    code = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=5).read().decode())"
    done = subprocess.run(pod.enter("python3", "-c", code), capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def test_a_cell_starts_up_to_the_driver(pods: list[Container], tmp_path: Path) -> None:
    make = "from pathlib import Path; from testbed.models.tiny import make; make(Path('/mnt/pod/model'), seed=1)"
    pods[0].run("python3", "-c", make, within=600, PYTHONPATH="/opt/probes:/opt/app")
    logs = [tmp_path / f"stage-{stage}.log" for stage in range(PIPELINE)]
    options = ("--config", f"{POD}/cell.json", "--token", f"{POD}/token")
    started = [
        pod.start("/usr/bin/tini", "--", "python3", "-m", "llama_serving.cell", *options, "--control",
                  f"{POD}/control-{stage}", log=logs[stage])
        for stage, pod in enumerate(pods)
    ]  # fmt: skip
    try:
        seen = _until_it_failed(pods[0], logs)
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert NO_DRIVER in seen["message"], f"{seen}\n{_tail(logs)}"
    assert seen["stages_joined"] == PIPELINE


def _until_it_failed(leader: Container, logs: list[Path]) -> dict[str, Any]:
    """Return the leader's state with what the engine failed of."""
    deadline = time.monotonic() + WITHIN
    last: dict[str, Any] = {}
    while time.monotonic() < deadline:
        last = state(leader, 0) or last
        if NO_DRIVER in last.get("message", "") or last.get("phase") == "failed":
            return last
        time.sleep(1)
    raise AssertionError(f"not within {WITHIN} s; last seen: {last}\n{_tail(logs)}")


def _tail(logs: list[Path]) -> str:
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in logs)
