"""Who this pod is: its group's config, its stage and its address. Read once, at the start."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from llama_serving.config import names
from llama_serving.config.cell import CellConfig


class ConfigError(Exception):
    """The pod cannot know who it is; the text is one sentence for humans."""


@dataclass(frozen=True)
class Identity:
    """One stage of one group."""

    config: CellConfig
    stage: int
    ip: str
    token_path: Path
    engine_key_path: Path = Path(names.ENGINE_KEY_PATH)

    @property
    def is_leader(self) -> bool:
        """Stage 0 runs the head of the cluster and the engine's routes."""
        return self.stage == 0

    @property
    def leader_host(self) -> str:
        """DNS name of stage 0."""
        return self.config.stage_hosts[0]

    @property
    def stages(self) -> int:
        """Pods of the group."""
        return self.config.layout.pipeline

    def token(self) -> str:
        """Return the group's secret, read anew each time since the kubelet may replace the file."""
        return self.token_path.read_text(encoding="utf-8").strip()


def read_identity(
    *,
    config_path: Path,
    token_path: Path,
    environment: Mapping[str, str],
    engine_key_path: Path = Path(names.ENGINE_KEY_PATH),
) -> Identity:
    """Read the config file and the environment of the pod.

    Raises:
        ConfigError: the file or a variable is missing or wrong.
    """
    config = _read_config(config_path)
    stage = _stage(environment, stages=config.layout.pipeline)
    ip = environment.get(names.ENV_POD_IP, "")
    if not ip:
        raise ConfigError(f"the environment variable {names.ENV_POD_IP} is not set")
    if len(config.stage_hosts) != config.layout.pipeline:
        raise ConfigError(f"{config_path} names {len(config.stage_hosts)} hosts for {config.layout.pipeline} stages")
    return Identity(config=config, stage=stage, ip=ip, token_path=token_path, engine_key_path=engine_key_path)


def _read_config(path: Path) -> CellConfig:
    try:
        return CellConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is not the config of a cell: {error}") from error


def _stage(environment: Mapping[str, str], *, stages: int) -> int:
    text = environment.get(names.ENV_STAGE, "")
    if not text.isdecimal() or int(text) >= stages:
        raise ConfigError(f"the environment variable {names.ENV_STAGE} is {text!r}; expected 0 to {stages - 1}")
    return int(text)
