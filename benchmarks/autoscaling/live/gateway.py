"""The real gateway of a deployment whose pods nobody runs: with its file and the rights of its account."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.autoscaling.gateway_pod import make_gateway_pod
from llama_operator.manifests.gateway import CONFIG_KEY
from llama_operator.plan.naming import gateway_name
from tests.contract.support.operators import until
from tests.contract.support.stand import Stand

ADDRESS = "127.77.0.1"  # of its pod


@contextmanager
def gateway_of(stand: Stand, deployment: str, folder: Path) -> Iterator[None]:
    """Run it on ADDRESS; what it logged is shown where the block fails."""
    name = gateway_name(deployment)
    until(lambda: name in {one["metadata"]["name"] for one in stand.items("configmaps")}, "the gateway has a file")
    files = folder / "gateway"
    files.mkdir()
    for key, text in stand.get("configmap", name)["data"].items():
        (files / key).write_text(text)
    environment = os.environ | {"KUBECONFIG": str(stand.kubeconfig_of(name, folder / "gateway.kubeconfig"))}
    command = [sys.executable, "-m", "llama_serving.gateway", "--config", str(files / CONFIG_KEY), "--host", ADDRESS]
    log = folder / "gateway.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        make_gateway_pod(stand, deployment, ADDRESS)
        yield
    except BaseException:
        sys.stderr.write(log.read_text()[-2000:])
        raise
    finally:
        process.kill()
        process.wait()
