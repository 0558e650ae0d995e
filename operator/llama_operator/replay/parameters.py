"""What a group can do and when it comes: from a file, from a deployment's status, or assumed.

The assumed figures are a roofline estimate of Llama 3.1 405B in FP8 on one node of eight H100, not measured: decoding
reads 405 GB of weights at 8 x 3.35 TB/s, 15 ms, and at 40 % of that speed 0.04 s a token; prefill needs 2 x 405e9
operations a token, at 25 % of 8 x 1979 TFLOPS about 5000 tokens/s. 8 requests of 28 000 tokens fill the about 120 GB
that are left for the KV cache (516 kB a token: 126 layers x 8 heads x 128 x 2 x 2 B). Who has measured gives a file.
"""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llama_operator.plan.autoscaling.learning.record import MEMORY
from llama_operator.replay.traces import Request

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class BadParametersError(Exception):
    """The file cannot be used; the text names file, field and what belongs there."""


class Parameters(BaseModel):
    """One group of the model, and the wait that shall not be passed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slots: int = Field(default=8, ge=1, description="requests that a group runs at once; a further one waits")
    prefill: float = Field(default=5000.0, gt=0, description="prompt tokens a second, of one request")
    perToken: Seconds = Field(default=0.04, description="seconds for each token of an answer")  # noqa: N815
    slowdown: Seconds = Field(default=0.0, description="by how much a full batch is slower than one request: 1 = twice")
    gpus: int = Field(default=8, ge=1, description="devices of a group")
    startDelay: Seconds = Field(default=300.0, description="from the pods' creation to the first request")  # noqa: N815
    startSpread: float = Field(  # noqa: N815
        default=0.0, ge=0, lt=1, description="starts take startDelay x (1 - spread .. 1 + spread), evenly distributed"
    )
    wait: float = Field(default=5.0, gt=0, description="a request shall not wait longer, in seconds")
    share: float = Field(default=0.99, gt=0, lt=1, description="of the requests: what ours promises")
    memorySeconds: float = Field(  # noqa: N815
        default=MEMORY, gt=0, description="after which a request counts 1/e when ours chooses a rule"
    )
    minReplicas: int = Field(default=1, ge=0, description="fewest groups")  # noqa: N815
    maxReplicas: int = Field(default=64, ge=1, description="most groups")  # noqa: N815

    def seconds(self, request: Request) -> float:
        """Compute what a request takes on a group that has nothing else to do."""
        return request.prompt / self.prefill + request.answer * self.perToken


def read(path: Path) -> Parameters:
    """Read parameters from YAML or JSON: fields of ``Parameters``, or a LlamaDeployment as kubectl prints it."""
    try:
        content = yaml.safe_load(path.read_text())
        if not isinstance(content, dict):
            raise BadParametersError(f"{path}: a mapping of names to numbers belongs here: docs/reference/replay.md")
        return Parameters.model_validate(_of_deployment(content) if "kind" in content else content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadParametersError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadParametersError(f"{path}: {field}: {first['msg']}; it is {first['input']!r}") from error


def _of_deployment(content: dict[str, Any]) -> dict[str, Any]:
    """Read what a deployment says of itself: sizes and limits from its spec, starts and speed from its status."""
    spec = content.get("spec") or {}
    wanted, sharding = (spec.get(name) or {} for name in ("autoscaling", "sharding"))
    target = wanted.get("target") or {}
    status = (content.get("status") or {}).get("autoscaling") or {}
    starts = sorted(status.get("starts") or ())
    found = {
        "slots": spec.get("maxConcurrentRequests"),
        "gpus": sharding.get("pipeline", 1) * sharding.get("tensor", 1) if sharding else None,
        "wait": target.get("waitSeconds"),
        "share": target.get("share"),
        "memorySeconds": wanted.get("memorySeconds"),
        "minReplicas": wanted.get("minReplicas"),
        "maxReplicas": wanted.get("maxReplicas"),
        "startDelay": starts[len(starts) // 2] if starts else None,
        "perToken": status.get("secondsPerToken"),
    }
    return {name: value for name, value in found.items() if value is not None}
