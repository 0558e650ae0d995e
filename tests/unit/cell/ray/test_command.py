"""Ray's command lines and environment."""

from pathlib import Path
from typing import Any

import pytest

from llama_serving.cell.ray.command import head_command, worker_command
from llama_serving.cell.ray.nccl_log import nccl_environment
from tests.unit.cell.worlds import identity

GPU: dict[str, Any] = {"pipeline": 2, "tensor": 8, "device": "gpu"}


def test_the_head_listens_on_the_pods_address_only() -> None:
    command = head_command(identity(), python="py", temp=Path("/t"), base={"HOME": "/tmp"}, interface="eth0")
    assert command.arguments[:5] == ("py", "-m", "llama_serving.cell.ray.start", "start", "--head")
    assert {"--node-ip-address=10.0.0.1", "--dashboard-host=10.0.0.1", "--labels=stage=0", "--block"} <= set(
        command.arguments
    )
    assert command.environment["HOME"] == "/tmp"
    assert command.environment["RAY_AUTH_MODE"] == "token"
    assert command.environment["RAY_AUTH_TOKEN_PATH"] == "/token"
    assert "RAY_preload_python_modules" not in command.environment


def test_a_worker_joins_the_leaders_address_and_imports_ahead() -> None:
    command = worker_command(
        identity(1, **GPU), leader_ip="10.0.0.1", python="py", temp=Path("/t"), base={}, interface="eth0"
    )
    assert {"--address=10.0.0.1:6379", "--labels=stage=1", "--num-gpus=8", "--num-cpus=8"} <= set(command.arguments)
    assert "--head" not in command.arguments
    assert command.environment["RAY_preload_python_modules"].startswith("llama_serving.gpu.executor,vllm.")
    assert command.environment["VLLM_HOST_IP"] == "10.0.0.2"


def test_interfaces_that_the_pod_names_are_taken_and_nothing_else_of_the_cell() -> None:
    asked = {"GLOO_SOCKET_IFNAME": "net1", "NCCL_IB_HCA": "mlx5", "VLLM_HOST_IP": "10.9.9.9", "RAY_AUTH_MODE": "none"}
    command = head_command(identity(), python="py", temp=Path("/t"), base=asked, interface="eth0")
    assert command.environment["GLOO_SOCKET_IFNAME"] == "net1"
    assert command.environment["NCCL_IB_HCA"] == "mlx5"
    assert (command.environment["VLLM_HOST_IP"], command.environment["RAY_AUTH_MODE"]) == ("10.0.0.1", "token")


def test_a_worker_joins_an_ipv6_address() -> None:
    command = worker_command(identity(1), leader_ip="fd00::1", python="py", temp=Path("/t"), base={}, interface="eth0")
    assert "--address=[fd00::1]:6379" in command.arguments


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_only_gpus_have_nccl_and_what_the_pod_says_of_it_holds(device: str) -> None:
    def environment(**base: str) -> dict[str, str]:
        me = identity(pipeline=2, tensor=8, device=device)
        return head_command(me, python="py", temp=Path("/t"), base=base, interface="eth0").environment

    ours = {name: value for name, value in environment().items() if name.startswith("NCCL_")}
    assert ours == (nccl_environment(interface="eth0") if device == "gpu" else {})
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        assert environment(**{name: "net1"})[name] == "net1"
