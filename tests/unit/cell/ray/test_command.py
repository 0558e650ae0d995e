"""Ray's command lines and environment."""

from pathlib import Path
from typing import Any

from llama_serving.cell.ray.command import head_command, worker_command
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
    assert command.environment["RAY_preload_python_modules"].startswith("vllm.")
    assert command.environment["VLLM_HOST_IP"] == "10.0.0.2"


def test_interfaces_that_the_pod_names_are_taken_and_nothing_else_of_the_cell() -> None:
    asked = {"NCCL_SOCKET_IFNAME": "=net1", "NCCL_IB_HCA": "mlx5", "VLLM_HOST_IP": "10.9.9.9", "RAY_AUTH_MODE": "none"}
    command = head_command(identity(), python="py", temp=Path("/t"), base=asked, interface="eth0")
    assert command.environment["NCCL_SOCKET_IFNAME"] == "=net1"
    assert command.environment["NCCL_IB_HCA"] == "mlx5"
    assert command.environment["GLOO_SOCKET_IFNAME"].removeprefix("=") == "eth0"
    assert (command.environment["VLLM_HOST_IP"], command.environment["RAY_AUTH_MODE"]) == ("10.0.0.1", "token")
