"""``python -m llama_serving.gateway``: serve as the config file says, until SIGTERM."""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path

from pydantic import ValidationError

from llama_serving.common.engine_key import EngineKey
from llama_serving.common.kube_access import find_access
from llama_serving.config import names
from llama_serving.config.access.ledger import LEDGER_FOLDER
from llama_serving.config.access.rules import LONGEST_ACCESS, AccessRules
from llama_serving.config.gateway import GatewayConfig
from llama_serving.config.logs.lines import one_line
from llama_serving.gateway.access.control import AccessControl
from llama_serving.gateway.connections.loop_time import measured_loop
from llama_serving.gateway.discovery import Discovery
from llama_serving.gateway.discovery.kubernetes import KubernetesDiscovery
from llama_serving.gateway.discovery.static import StaticDiscovery, parse_static
from llama_serving.gateway.server import ListenAddress, run
from llama_serving.gateway.telemetry.log import configure_logging

_M_MMAP_THRESHOLD = -3  # malloc.h
_MAPPED_FROM = 128 << 10  # bytes
# New objects before a collection of the youngest; collections before one of the next older generation.
_YOUNG, _MIDDLE, _OLD = 1_000, 10, 100


def main(argv: list[str] | None = None) -> int:
    """Run the gateway; return the exit status: 0 after a drain, 2 for an invalid config."""
    options = _parser().parse_args(argv)
    configure_logging()
    try:
        config = _config(options)
        discovery = _discovery(options, config)
        access = _access(options, config)
    except (OSError, ValidationError, ValueError) as error:
        print(one_line(f"llama-gateway: {error}"), file=sys.stderr)  # noqa: T201
        return 2
    _allow_many_sockets()
    _give_memory_back()
    _collect_seldom()
    address = ListenAddress(options.host, options.port, options.admin_port)
    key = EngineKey(options.engine_key)
    loop, idle = measured_loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(
            run(
                config,
                discovery,
                address,
                access_log=options.access_log,
                models=_models_file(options),
                credential=key.header_line,
                access=access,
                idle=idle,
            )
        )
    return 0


def _allow_many_sockets() -> None:
    # Every request in flight has two sockets; the usual soft limit of 1024 is for programs that use select().
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _give_memory_back() -> None:
    # glibc raises by itself the size from which it maps a block of its own, up to 32 MiB, and then keeps the holes of
    # bodies that are gone.
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)


def _collect_seldom() -> None:
    # What was imported stays. A full collection walks through all that lives, 90 ms with 2000 connections, and nobody
    # is answered meanwhile; hardly any request leaves something that only the collector finds (docs/benchmarks).
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m llama_serving.gateway", description=__doc__)
    parser.add_argument("--config", type=Path, help=f"config file (default: {names.GATEWAY_CONFIG_PATH})")
    parser.add_argument("--static", metavar="NAME=URL,...", help="fixed groups instead of discovery by pods")
    parser.add_argument(
        "--engine-key", type=Path, default=Path(names.ENGINE_KEY_PATH), help="file with the key of the engines, if any"
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")
    parser.add_argument("--port", type=int, default=names.PORT_GATEWAY, help="port of the OpenAI API; 0: a free one")
    parser.add_argument("--admin-port", type=int, default=names.PORT_GATEWAY_ADMIN, help="0: a free one")
    parser.add_argument("--access", type=Path, metavar="FILE", help="fixed rules of access, for --static")
    parser.add_argument("--ledger", type=Path, metavar="FOLDER", help=f"default: {LEDGER_FOLDER}, if it is there")
    parser.add_argument("--access-log", action="store_true", help="log every request, not only failed ones")
    return parser


def _config(options: argparse.Namespace) -> GatewayConfig:
    if options.config is None and options.static is not None:
        return GatewayConfig(deployment="static", namespace="static", served_name="")
    path = options.config or Path(names.GATEWAY_CONFIG_PATH)
    return GatewayConfig.model_validate_json(path.read_bytes())


def _models_file(options: argparse.Namespace) -> Path | None:
    """Return the file with the names of models: it lies beside the config."""
    if options.config is None and options.static is not None:
        return None
    return Path(options.config or names.GATEWAY_CONFIG_PATH).with_name(names.GATEWAY_MODELS_FILE)


def _discovery(options: argparse.Namespace, config: GatewayConfig) -> Discovery:
    if options.static is not None:
        return StaticDiscovery(parse_static(options.static))
    return KubernetesDiscovery(deployment=config.deployment, namespace=config.namespace, access=find_access)


def _access(options: argparse.Namespace, config: GatewayConfig) -> AccessControl:
    """Return who may call: as the API server says, or as a file does where groups are fixed."""
    folder = Path(LEDGER_FOLDER)
    ledger: Path | None = options.ledger or (folder if folder.is_dir() else None)
    if options.static is None:
        return AccessControl(config, source=find_access, ledger=ledger)
    control = AccessControl(config, ledger=ledger)
    if options.access is not None:
        with options.access.open("rb") as file:
            control.gate.take_over(AccessRules.model_validate_json(file.read(LONGEST_ACCESS + 1)))
    return control


if __name__ == "__main__":
    sys.exit(main())
