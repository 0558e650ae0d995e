"""The file from which a stage pod starts, alone: no API server and no operator is asked.

The operator writes one ``CellConfig`` per group into a ConfigMap; every stage mounts it at ``names.CELL_CONFIG_PATH``.
"""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

EngineOption = bool | int | float | str

_HUGE_PAGES: Final = "hugepages-"


class Frozen(BaseModel):
    """A message that nobody changes after it was read; an unknown field is an error.

    A reader may be older than its writer: groups keep their image under a newer operator. So a new field has a default
    that means what was before, a default never changes, and ``to_wire`` leaves out the fields that have theirs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_wire(self) -> dict[str, Any]:
        """Return the message as it is sent: plain JSON types, without the fields that have their default."""
        return self.model_dump(mode="json", exclude_defaults=True)


class WeightsRef(Frozen):
    """The weights that the engine loads."""

    path: str = Field(description="folder in the pod that holds config.json, tokenizer and *.safetensors")
    id: str = Field(description="name of these weights for humans and headers: digest, or source and revision")
    served_name: str = Field(description="the model's name in the OpenAI API")
    digest: str = Field(default="", description="of the manifest; empty where none was made")


class Layout(Frozen):
    """How the model is cut: ``pipeline`` stages (pods) of ``tensor`` devices each."""

    pipeline: int = Field(ge=1)
    tensor: int = Field(ge=1)
    device: Literal["cpu", "gpu"]


class AdapterLimits(Frozen):
    """How many LoRA adapters an engine makes room for; a later change needs another engine."""

    slots: int = Field(ge=1, description="adapters that one batch may use, and that lie in device memory at a time")
    held: int = Field(ge=1, description="adapters that lie in the pod's memory at a time; at least slots")
    max_rank: int = Field(ge=1, description="highest rank of an adapter, as the engine rounds it up")


class CellTimeouts(Frozen):
    """Deadlines in seconds. A passed deadline ends the container; the kubelet starts it again."""

    join: float = Field(default=600, gt=0, description="leader: until all stages joined")
    start: float = Field(default=3600, gt=0, description="leader: from all joined to the first answer of the engine")
    drain: float = Field(default=120, gt=0, description="on SIGTERM: until requests in flight have ended")


class CellConfig(Frozen):
    """One group: who its stages are and what they serve."""

    deployment: str
    namespace: str
    group: int = Field(ge=0)
    pod_hash: str
    stage_hosts: tuple[str, ...] = Field(min_length=1, description="DNS name of each stage; index = stage, 0 = leader")
    weights: WeightsRef
    layout: Layout
    context_length: int = Field(ge=1, description="tokens of prompt and answer together")
    dtype: str = "auto"
    max_num_seqs: int = Field(default=64, ge=1, description="requests that the engine runs at once")
    engine_options: dict[str, EngineOption] = Field(default_factory=dict, description="further vLLM engine arguments")
    cpus_per_stage: int = Field(default=1, ge=1, description="CPUs of a stage, which its ranks share as threads")
    timeouts: CellTimeouts = CellTimeouts()
    cache_key: str = Field(
        default="", description="of what compiled code depends on, a part of a path; empty: caches lie in the pod"
    )
    extra_resources: tuple[str, ...] = Field(default=(), description="extended resources beside the devices, by name")
    adapters: AdapterLimits | None = Field(default=None, description="room for LoRA adapters; None: none is served")
    tools: str = Field(
        default="auto", description="parser of tool calls; auto: inferred from the weights; off: requests get no tools"
    )
    reasoning: str = Field(
        default="auto", description="parser of reasoning; auto: inferred from the weights; off: part of the answer"
    )
    chat_template: str = Field(default="", description="path of a chat template in the pod; empty: that of the weights")
    staged: bool = Field(default=False, description="a stager in the pod readies weights; wait for it before loading")

    @property
    def fabric(self) -> tuple[str, ...]:
        """Name the network devices among ``extra_resources``: the pod asked for a faster network between nodes.

        All but huge pages, which drivers of such a network also want.
        """
        return tuple(sorted(name for name in self.extra_resources if not name.startswith(_HUGE_PAGES)))
