"""The status of a LlamaDeployment. Written by one function, once per pass, only if different."""

from typing import Final, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from llama_operator.api.v1alpha1.adapters.served import AdapterLimitsStatus, ServedAdapterStatus
from llama_operator.api.v1alpha1.base import ApiModel, Timestamp
from llama_operator.api.v1alpha1.edge.access_status import AccessStatus
from llama_serving.config.model import ModelFacts

#: The generation that the operator has observed of an object that it has not seen yet.
NOT_OBSERVED: Final = -1

#: What every status says of its generation.
OBSERVED_GENERATION: Final = (
    "Generation of the spec that this status speaks of; -1: the operator has not seen the object."
)


class Condition(ApiModel):
    """A condition, shaped as metav1.Condition."""

    type: str = Field(
        max_length=316,
        description="Available, Degraded, Progressing, AdaptersReady, AccessReady, NetworkPolicyEnforced, Ready, "
        "Reconciling or Stalled.",
    )
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(min_length=1, max_length=1024, description="Machine word for why.")
    message: str = Field(max_length=32768, description="Sentence with numbers for why.")
    last_transition_time: Timestamp = Field(description="When status last changed.")
    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that this speaks of.")


class GroupVerdict(ApiModel):
    """What was measured of a group's weights before it got requests, and the verdict."""

    digest: str = Field(description="Digest of the weights that were verified.")
    passed: bool = Field(description="Whether the group may get requests with them.")
    golden: str = Field(default="", description="Golden prompts that passed, such as 2/2.")
    mean_logprob: float | None = Field(default=None, description="Mean log-probability in nats per token.")
    quality: str = Field(default="", description="The same for each quality text, such as English -2.10, Thai -3.05.")
    answer_hash: str = Field(default="", description="Hash of a greedy answer, in which groups must agree.")
    message: str = Field(default="", description="Sentence with numbers.")


class GroupStatus(ApiModel):
    """One group as it was observed."""

    ordinal: int = Field(ge=0, description="Number of the group.")
    name: str = Field(description="Name that the group's pods begin with.")
    pod_hash: str = Field(description="Hash in the names of the group's pods: the same for equal pods.")
    state: str = Field(description="State of the group, in one word.")
    reason: str = Field(default="", description="Machine word for why.")
    message: str = Field(default="", description="Sentence with numbers for why.")
    nodes: tuple[str, ...] = Field(default=(), description="Node of each stage; empty while it has none.")
    weights: str = Field(default="", description="Weights that the group answers with; empty before it does.")
    verify: GroupVerdict | None = Field(default=None, description="What was measured of its weights; absent before.")
    transports: tuple[str, ...] = Field(
        default=(), description="What NCCL took between its ranks, such as NET/IB/GDRDMA; empty where not known."
    )
    since: Timestamp | None = Field(default=None, description="Since when it is in this state.")


class ModelFactsStatus(ModelFacts):
    """The resolver's facts in the spelling of the API."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class ChatStatus(ApiModel):
    """How tool calls and reasoning of the model are read, and which chat template makes its prompts."""

    tools: str = Field(default="", description="Parser of tool calls; empty: requests with tools are refused.")
    tools_reason: str = Field(default="", description="Why that parser, or none.")
    reasoning: str = Field(default="", description="Parser of reasoning; empty: it stays in the content of answers.")
    reasoning_reason: str = Field(default="", description="Why that parser, or none.")
    template: str = Field(default="", description="Where the chat template is from; empty: there is none.")
    takes_tools: bool = Field(default=False, description="The chat template puts tools into the prompt.")
    tokens: tuple[str, ...] = Field(
        default=(), description="Tokens that parsers need and the tokenizer has; no others are listed."
    )


class ModelStatus(ApiModel):
    """What was found of the weights."""

    key: str = Field(description="Hash of the source and revision that were inspected.")
    outcome: Literal["", "accepted", "refused"] = Field(default="", description="Empty while it is not known.")
    reason: str = Field(default="", description="Machine word for the outcome.")
    message: str = Field(default="", description="Sentence for the outcome.")
    facts: ModelFactsStatus | None = Field(default=None, description="What config.json and the weights say.")
    chat: ChatStatus | None = Field(
        default=None, description="Tool calls, reasoning and chat template; absent where they are not known yet."
    )


class CountsStatus(ApiModel):
    """What the gateways counted since the rollout began, as of its last step."""

    finished: int = Field(default=0, description="Requests answered to their end.")
    retried: int = Field(default=0, description="Requests sent to another group before their first byte.")
    continued: int = Field(default=0, description="Streams that one group started and another finished.")
    broken: int = Field(default=0, description="Streams that broke.")
    served_by_old: int = Field(default=0, description="Answers by the weights before.")
    served_by_new: int = Field(default=0, description="Answers by the new weights.")


class CounterBaseline(ApiModel):
    """Counters of a gateway pod at a moment, to be subtracted from later ones."""

    gateway: str = Field(description="Name of the gateway's pod.")
    totals: tuple[int, ...] = Field(description="finished, retried, continued, broken")
    old: tuple[int, ...] = Field(
        description="Of the old weights: finished, failed, then first bytes per class of time."
    )
    new: tuple[int, ...] = Field(description="The same of the new weights.")


class AdapterCanaryStatus(ApiModel):
    """A LoRA adapter that changes: one group answers with its new version before the others get it."""

    name: str = Field(description="Its name in the OpenAI API.")
    former_digest: str = Field(description="Digest of the version that answers until the new one has passed.")
    former_id: str = Field(description="Name of these bytes: revision and digest.")
    digest: str = Field(description="Digest of the new version.")
    id: str = Field(description="Name of these bytes: revision and digest.")
    state: Literal["loading", "watching", "passed", "failed"] = Field(
        description="loading: no group answers with it yet. failed: every group has the former version again."
    )
    since: Timestamp | None = Field(default=None, description="Since when a group answers with the new version.")
    message: str = Field(default="", description="Sentence with numbers for why it failed.")
    counter_baselines: tuple[CounterBaseline, ...] = Field(
        default=(), description="Counters of the gateways when it began; weights stand for the adapter."
    )


class RolloutPreview(ApiModel):
    """The steps and the cost of a rollout, computed before its first step."""

    strategy: str = Field(default="", description="inPlace, surge or drain; empty while none is possible.")
    why: str = Field(default="", description="Why this strategy.")
    steps: tuple[str, ...] = Field(default=(), description="What will happen, in order.")
    extra_devices: int = Field(default=0, description="Devices beyond those of the groups that are there.")
    lowest_capacity: str = Field(default="", description="Fewest groups that serve at a time, such as 1 of 2.")
    seconds: int | None = Field(default=None, description="Expected duration; absent when nothing was measured yet.")


class RehearsalStatus(ApiModel):
    """What was tried before the first step of a rollout."""

    outcome: Literal["running", "failed", "passed"] = Field(description="How it stands.")
    reason: str = Field(default="", description="Machine word for why.")
    message: str = Field(default="", description="Sentence with numbers for why.")
    nodes: tuple[str, ...] = Field(default=(), description="Nodes on which the new image is pulled ahead.")
    started: Timestamp = Field(description="When it was started.")
    seconds: int = Field(default=0, ge=0, description="Seconds until it passed, or failed last.")


class RolloutStatus(ApiModel):
    """The present rollout, or the last one."""

    key: str = Field(description="Hash of what the spec asks of the groups.")
    verification_hash: str = Field(
        description="Hash of key, verify and rollout.canary: a held rollout is tried again when it changes."
    )
    phase: Literal["Rehearsing", "RollingOut", "RollingBack", "Held", "Failed", "Done"] = Field(
        description="Phase of the rollout."
    )
    reason: str = Field(default="", description="Machine word for why.")
    message: str = Field(default="", description="Sentence with numbers for why.")
    before: str = Field(default="", alias="from", description="Weights and pod hash before.")
    to: str = Field(description="Weights and pod hash that are wanted.")
    template_hash: str = Field(description="Hash of what makes a pod different, without its weights.")
    pod_hash: str = Field(description="Hash of the groups' pods after it.")
    weights: str = Field(description="Name of the LlamaWeights.")
    digest: str = Field(description="Digest of the weights.")
    id: str = Field(default="", description="Id of the weights, as in the header x-llama-weights.")
    preview: RolloutPreview = Field(
        default=RolloutPreview(), description="Its steps and cost, computed before the first."
    )
    rehearsal: RehearsalStatus | None = Field(
        default=None, description="What was tried before the first step; absent where nothing had to be."
    )
    step: str = Field(default="", description="Groups changed so far, such as 1 of 2.")
    started: Timestamp = Field(description="When it was started.")
    ended: Timestamp | None = Field(default=None, description="When it was done or held.")
    canary: Literal["", "watching", "passed"] = Field(default="", description="Where the canary stands.")
    canary_since: Timestamp | None = Field(default=None, description="Since when all groups of the canary serve.")
    counter_baselines: tuple[CounterBaseline, ...] = Field(
        default=(), description="Counters of the gateways at its start."
    )
    canary_counter_baselines: tuple[CounterBaseline, ...] = Field(
        default=(), description="Counters of the gateways at the start of the canary."
    )
    counts: CountsStatus = Field(default=CountsStatus(), description="Requests during the rollout.")


class PastRollout(ApiModel):
    """A rollout that has ended."""

    before: str = Field(default="", alias="from", description="Weights and pod hash before.")
    to: str = Field(description="Weights and pod hash that were wanted.")
    outcome: Literal["done", "rolledBack", "superseded"] = Field(description="How it ended.")
    reason: str = Field(default="", description="Machine word for why it ended so.")
    message: str = Field(default="", description="Sentence with numbers.")
    seconds: int = Field(ge=0, description="Seconds that it took.")
    started: Timestamp = Field(description="When it was started.")


class StableTemplate(ApiModel):
    """The last template that all groups reached: what they roll back to, and what lost groups are created from."""

    key: str = Field(description="Hash of what the spec asked of the groups.")
    template_hash: str = Field(description="Hash of what makes a pod different, without its weights.")
    pod_hash: str = Field(description="Hash of the groups' pods.")
    weights: str = Field(description="Name of the LlamaWeights.")
    digest: str = Field(description="Digest of the weights.")
    id: str = Field(description="Id of the weights, as in the header x-llama-weights.")
    spec: str = Field(description="The part of the spec that groups are made from, as JSON without defaults.")


class DefaultImages(ApiModel):
    """Default images and derived sizes that the pods of a template take, also under a newer operator."""

    template_hash: str = Field(description="Hash of what makes a pod different, without its weights.")
    serving: str = Field(default="", description="Image of the stage pods; empty where the spec named it.")
    stager: str = Field(default="", description="Image of the stager in them; empty where the spec named it.")
    cpu: str = Field(default="", description="CPU that was derived; empty where the spec named it.")
    memory: str = Field(default="", description="Memory that was derived; empty where the spec named it.")
    shared_memory: str = Field(default="", description="Shared memory that was derived; empty where the spec named it.")


class StageResourcesStatus(ApiModel):
    """What a stage pod has of its node."""

    cpu: str = Field(description="CPU cores.")
    memory: str = Field(description="Memory, shared memory included.")
    shared_memory: str = Field(description="Size of /dev/shm.")
    derived: tuple[str, ...] = Field(default=(), description="Those that spec.resources does not set.")


class TextBaseline(ApiModel):
    """How likely verified weights found one quality text."""

    mean_logprob: float = Field(description="Mean log-probability in nats per token.")
    tokens: int = Field(ge=1, description="Tokens of the text.")


class Baseline(ApiModel):
    """Measurements of verified weights, with which later ones and other groups are compared."""

    digest: str = Field(description="Digest of the weights.")
    texts: str = Field(description="Hash of the texts that were measured; others cannot be compared.")
    mean_logprob: float | None = Field(default=None, description="Mean log-probability in nats per token.")
    by_text: tuple[TextBaseline, ...] = Field(
        default=(), description="The same for each text, in their order; empty where an older cell measured."
    )
    answer_hash: str = Field(default="", description="Hash of the greedy answer.")


class ScaleDecision(ApiModel):
    """One change of the number of groups."""

    at: Timestamp = Field(description="When it was decided.")
    before: int = Field(alias="from", ge=0, description="Groups that were wanted before.")
    to: int = Field(ge=0, description="Groups that are wanted since.")
    reason: str = Field(description="Machine word for why.")
    message: str = Field(description="Sentence with numbers for why.")
    figures: dict[str, float] = Field(default={}, description="The figures behind it.")


class PromiseStatus(ApiModel):
    """What share of the requests waited no longer than target.waitSeconds, and which rule looks after it."""

    rule: str = Field(default="", description="Rule that is followed; empty until ten minutes were observed.")
    since: Timestamp | None = Field(default=None, description="Since when it is followed.")
    message: str = Field(default="", description="Sentence with numbers: what it would have done with the load so far.")
    share_of_hour: float | None = Field(default=None, description="Share in time of about the last hour.")
    share_of_day: float | None = Field(default=None, description="Share in time of about the last day.")
    share_since_change: float | None = Field(default=None, description="Share in time since the rule is followed.")
    record: str = Field(
        default="", max_length=8192, description="What came of all rules, packed: for the operator after a restart."
    )
    at: Timestamp | None = Field(default=None, description="When the shares were last written, to a minute.")


class AutoscalingStatus(ApiModel):
    """How many groups are wanted, and why."""

    target: int = Field(ge=0, description="Groups that are wanted.")
    reason: str = Field(default="", description="Machine word for the last change.")
    message: str = Field(default="", description="Sentence with numbers for the last change.")
    since: Timestamp = Field(description="Since when so many are wanted.")
    floor: int = Field(default=0, ge=0, description="Fewest groups at present: of the spec, or of a schedule.")
    ceiling: int = Field(default=0, ge=0, description="Most groups at present.")
    schedule: str = Field(default="", description="Name of the schedule that holds at present.")
    decisions: tuple[ScaleDecision, ...] = Field(default=(), description="The last ten changes, the latest first.")
    starts: tuple[float, ...] = Field(
        default=(), description="Seconds that the last 20 starts took, from placed pods to the first request."
    )
    seconds_per_token: float | None = Field(
        default=None, description="Time of one request for a token of its answer, as measured at the last change."
    )
    raised: Timestamp | None = Field(default=None, description="When the target was last raised.")
    lowered: Timestamp | None = Field(default=None, description="When the target was last lowered.")
    owed: int = Field(
        default=0,
        ge=0,
        description="Requests that left without an answer while no group served: their clients may come back, so the "
        "last group is kept for them beyond idleAfterSeconds.",
    )
    owed_at: Timestamp | None = Field(default=None, description="When the last of them was there, to a minute.")
    failed_starts: int = Field(
        default=0, ge=0, description="Groups in a row that started for a request and did not come to serve."
    )
    gave_up: Timestamp | None = Field(default=None, description="When the last of them was given up.")
    promise: PromiseStatus | None = Field(
        default=None, description="The promise of target.waitSeconds and its keeping; absent with the formula alone."
    )
    warm: str = Field(default="", description="Claims kept for groups that do not run, and their size.")


class RequeueState(ApiModel):
    """A group of which only some pods fit, so that its pods were created again."""

    group: str = Field(description="Name of the group.")
    times: int = Field(ge=1, description="How often; the pause before the next try grows with it.")
    at: Timestamp = Field(description="When it last happened.")


class NodeStrikes(ApiModel):
    """A node whose devices have failed groups of this deployment."""

    node: str = Field(description="Name of the node.")
    strikes: float = Field(ge=0, description="Strikes at the time of the last one; they halve every hour from then on.")
    at: Timestamp = Field(description="When the last one was.")
    reason: str = Field(default="", description="Machine word for the last one.")
    message: str = Field(default="", description="Sentence with numbers for the last one.")
    left: Timestamp | None = Field(default=None, description="When a group last left the node for it.")
    times_left: int = Field(default=0, ge=0, description="How often one did; the pause before the next grows with it.")


class LlamaDeploymentStatus(ApiModel):
    """What the operator observed in its last pass."""

    observed_generation: int = Field(default=NOT_OBSERVED, ge=NOT_OBSERVED, description=OBSERVED_GENERATION)
    replicas: int = Field(default=0, ge=0, description="Groups that have pods.")
    ready_replicas: int = Field(default=0, ge=0, description="Groups that get requests.")
    groups_ready: str = Field(default="", description="Ready and desired groups, such as 1/2.")
    selector: str = Field(default="", description="Label selector of the groups' leaders, for kubectl scale.")
    weights: str = Field(default="", description="Weights that all ready groups answer with, or a list of them.")
    reason: str = Field(default="", description="Machine word for what it waits for, or Serving.")
    message: str = Field(default="", description="Sentence with numbers for reason.")
    model: ModelStatus | None = Field(default=None, description="What was found of the weights.")
    groups: tuple[GroupStatus, ...] = Field(
        default=(),
        description="The groups.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    rollout: RolloutStatus | None = Field(default=None, description="The present rollout, or the last one.")
    history: tuple[PastRollout, ...] = Field(default=(), description="The last ten rollouts, the latest first.")
    stable: StableTemplate | None = Field(default=None, description="The last template that all groups reached.")
    baselines: tuple[Baseline, ...] = Field(default=(), description="Measurements of verified weights.")
    autoscaling: AutoscalingStatus | None = Field(
        default=None, description="How many groups are wanted. Absent without spec.autoscaling."
    )
    requeues: tuple[RequeueState, ...] = Field(
        default=(), description="Groups of which only some pods fit, until all are placed."
    )
    node_strikes: tuple[NodeStrikes, ...] = Field(
        default=(), description="Nodes whose devices have failed groups, at most 32, until that has faded."
    )
    default_images: tuple[DefaultImages, ...] = Field(
        default=(), description="Defaults that groups keep until the spec asks for another template."
    )
    stage_resources: StageResourcesStatus | None = Field(
        default=None,
        description="What each stage pod of the wanted groups has, derived or set; absent before weights are known.",
    )
    adapters: tuple[ServedAdapterStatus, ...] = Field(
        default=(), description="The LoRA adapters that the spec asks for, and how far each is."
    )
    adapter_canaries: tuple[AdapterCanaryStatus, ...] = Field(
        default=(), description="Adapters whose new version goes to one group first, by spec.rollout.canary."
    )
    adapter_limits: AdapterLimitsStatus | None = Field(
        default=None, description="Room for adapters in each engine; it grows with them and never shrinks by itself."
    )
    access: AccessStatus | None = Field(default=None, description="Who may call. Absent without spec.access.")
    exposed: tuple[str, ...] = Field(
        default=(),
        max_length=4,
        description="Kinds of objects that lead to the gateway from outside: HTTPRoute, Ingress.",
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Available, Degraded and Progressing, for people and alerts, and AdaptersReady and AccessReady "
        "where adapters and keys are asked for; Ready, Reconciling and Stalled, of which one is True, for tools that "
        "wait.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
