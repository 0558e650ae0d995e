"""How Ray is started on a stage: argument list and environment, computed from who the stage is.

Everything that a worker process of Ray needs is in this environment, so that no actor has a ``runtime_env``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llama_serving.cell.entrypoints import RAY_START_MODULE
from llama_serving.cell.ray.nccl_log import nccl_environment
from llama_serving.cell.shared.engine_args import STAGE_LABEL, engine_environment, stage_modules
from llama_serving.cell.shared.identity import Identity
from llama_serving.config import names
from llama_serving.config.names import url_host

OBJECT_STORE_BYTES: Final = 80_000_000  # Ray's smallest is 78.6 MB; a cell puts only small objects there

_GCS_LOST_SECONDS: Final = 5
#: Variables in which spec.engine.nccl may name other interfaces than that of the pod's address.
_INTERFACES: Final = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True)
class RayCommand:
    """A child process."""

    arguments: tuple[str, ...]
    environment: dict[str, str]


def head_command(me: Identity, *, python: str, temp: Path, base: Mapping[str, str], interface: str) -> RayCommand:
    """Return the command of the leader: GCS, raylet and the REST API of Serve."""
    arguments = (
        "--head",
        f"--port={names.PORT_RAY_GCS}",
        f"--dashboard-host={me.ip}",
        f"--dashboard-port={names.PORT_RAY_DASHBOARD}",
        "--include-dashboard=true",
        f"--temp-dir={temp}",
    )
    return _command(me, arguments, python=python, temp=temp, base=base, interface=interface)


def worker_command(
    me: Identity, *, leader_ip: str, python: str, temp: Path, base: Mapping[str, str], interface: str
) -> RayCommand:
    """Return the command of a worker: a raylet that joins the leader."""
    arguments = (f"--address={url_host(leader_ip)}:{names.PORT_RAY_GCS}",)
    command = _command(me, arguments, python=python, temp=temp, base=base, interface=interface)
    return RayCommand(command.arguments, command.environment | _ahead(me))


def _ahead(me: Identity) -> dict[str, str]:
    """Return the environment in which a worker starts the process of its stage, and imports vLLM, ahead of its use.

    It is a worker's only Ray process. Not on the leader, where the first worker processes become Serve's.
    """
    return {
        "RAY_enable_worker_prestart": "true",
        "RAY_preload_python_modules": ",".join(stage_modules(me.config)),
        "RAY_idle_worker_killing_time_threshold_ms": "3600000",  # stock: an idle process is ended after a second
    }


def _command(
    me: Identity, arguments: tuple[str, ...], *, python: str, temp: Path, base: Mapping[str, str], interface: str
) -> RayCommand:
    tensor = me.config.layout.tensor
    resources = (f"--num-gpus={tensor}",) if me.config.layout.device == "gpu" else ()
    common = (
        f"--node-ip-address={me.ip}",
        f"--num-cpus={tensor}",
        *resources,
        f"--labels={STAGE_LABEL}={me.stage}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        "--include-log-monitor=false",
        "--disable-usage-stats",
        "--block",
    )
    asked = {name: base[name] for name in _INTERFACES if name in base}
    ours = ray_environment(me, temp=temp, interface=interface) | engine_environment(me.config)
    environment = dict(base) | ours | asked
    if me.config.layout.device == "gpu":
        environment = nccl_environment(interface=interface) | environment  # what the pod's own says of NCCL holds
    return RayCommand(arguments=(python, "-m", RAY_START_MODULE, "start", *arguments, *common), environment=environment)


def ray_environment(me: Identity, *, temp: Path, interface: str) -> dict[str, str]:
    """Return the environment of Ray and Serve; ``interface`` is the network interface that has the pod's address."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(me.token_path),
        names.ENV_ENGINE_KEY: str(me.engine_key_path),
        "RAY_TMPDIR": str(temp),
        "RAY_USAGE_STATS_ENABLED": "0",
        # A raylet that loses the leader ends after this; its container starts again and joins the next session.
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(_GCS_LOST_SECONDS),
        # A node whose processes have ended refuses the check, and is declared dead after about 6 s; stock takes 30 s
        # and more. One that is silent is rather busy than gone: with 3 s for an answer, raylets were declared dead
        # while three cells loaded on two cores. The operator sees a lost node by Kubernetes' own signals.
        "RAY_health_check_initial_delay_ms": "2000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "10000",
        "RAY_health_check_failure_threshold": "4",
        # Logs live in a small emptyDir.
        "RAY_ROTATION_MAX_BYTES": "8000000",
        "RAY_ROTATION_BACKUP_COUNT": "1",
        "RAY_worker_register_timeout_seconds": "300",
        # Stock runs every worker process, so the engine, at niceness 15: anything else on the node starves it.
        "RAY_worker_niceness": "0",
        # Stock, Serve's controller looks at its one replica ten times a second, a fifth of what an idle cell costs.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        # One failed start is reported at once: whether to try again is decided by the supervisor, in one place.
        "RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT": "1",
        "VLLM_HOST_IP": me.ip,
        "GLOO_SOCKET_IFNAME": interface,
    }
