"""The template hash: a short hash of everything that makes a stage's pod different, whatever weights it serves.

It is taken over the tables below: a stable key, the value that is left out, and where the value stands in the spec. The
keys are the hash's own and never change: a field that is renamed in the code or in the API keeps its key. A new field
gets a new key, and the value that it had for everybody before is left out. So neither a rename nor a new version of the
operator, nor a pod that it renders differently, restarts a group.

Not part of it: ``replicas`` and autoscaling, the gateway, labels and annotations of ``podTemplate``, which running
pods get in place, how changes are rolled out and verified (but for ``rollout.restartedAt``, which asks for new pods),
how pods are
scheduled, the license that was accepted, the served name, and which weights are served. Of the source only the volume
that it needs counts, and of the weights only their shape, because weights of one shape are swapped in running pods.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from llama_operator.api import (
    FORMER_SIZE,
    AdapterLimitsSpec,
    ChatTemplateRef,
    ClaimTemplate,
    EngineCache,
    LlamaDeploymentSpec,
    NodeTerm,
    Toleration,
)
from llama_operator.hashing import short_hash
from llama_serving.config.desired import GoldenPrompt
from llama_serving.config.model import ModelFacts
from llama_serving.config.source import is_mounted, split

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Part(Generic[Subject]):
    """One value of the hash."""

    key: str  # "section.name" or "name"; never changes
    absent: object  # the value that is left out
    value: Callable[[Subject], Any]


SPEC: Final[tuple[Part[LlamaDeploymentSpec], ...]] = (
    Part("context_length", None, lambda spec: spec.context_length),
    Part("dtype", "auto", lambda spec: spec.dtype),
    Part("max_concurrent_requests", 64, lambda spec: spec.max_concurrent_requests),
    Part("drain_timeout_seconds", None, lambda spec: spec.drain_timeout_seconds),
    Part("start_timeout_seconds", 3600, lambda spec: spec.start_timeout_seconds),
    Part("sharding.pipeline", 1, lambda spec: spec.sharding.pipeline),
    Part("sharding.tensor", 1, lambda spec: spec.sharding.tensor),
    Part("device.resource", "nvidia.com/gpu", lambda spec: spec.device.resource),
    Part("device.count", 1, lambda spec: spec.device.count),
    Part("device.extra", {}, lambda spec: dict(spec.device.extra)),
    Part("device.ipc_lock", False, lambda spec: spec.device.ipc_lock),
    Part("device.claim_template", "", lambda spec: spec.device.claim_template),
    Part("resources.cpu", FORMER_SIZE.cpu, lambda spec: spec.resources.size.cpu),
    Part("resources.memory", FORMER_SIZE.memory, lambda spec: spec.resources.size.memory),
    Part("resources.shared_memory", FORMER_SIZE.shared_memory, lambda spec: spec.resources.size.shared_memory),
    Part("placement.node_selector", {}, lambda spec: dict(spec.placement.node_selector)),
    Part("placement.tolerations", [], lambda spec: [_toleration(one) for one in spec.placement.tolerations]),
    Part("placement.spread_stages", False, lambda spec: spec.placement.spread_stages),
    Part("placement.priority_class_name", "", lambda spec: spec.placement.priority_class_name),
    Part("placement.runtime_class_name", "", lambda spec: spec.placement.runtime_class_name),
    Part("placement.scheduler_name", "", lambda spec: spec.placement.scheduler_name),
    Part("placement.required_nodes", [], lambda spec: [_term(one) for one in spec.placement.node_affinity.required]),
    Part(
        "placement.preferred_nodes",
        [],
        lambda spec: [{**_term(one), "weight": one.weight} for one in spec.placement.node_affinity.preferred],
    ),
    Part("placement.stages_together", "", lambda spec: spec.placement.stages_together),
    Part("placement.groups_apart", "", lambda spec: spec.placement.groups_apart),
    Part("network.annotations", {}, lambda spec: dict(spec.network.annotations)),
    Part("staging.claim", "", lambda spec: spec.staging.shared_claim_name),
    Part("staging.claim_template", None, lambda spec: _claim(spec.staging.volume_claim_template)),
    Part("staging.size_limit", None, lambda spec: spec.staging.size_limit),
    Part("engine.enable_prefix_caching", None, lambda spec: spec.engine.enable_prefix_caching),
    Part("engine.max_num_batched_tokens", None, lambda spec: spec.engine.max_num_batched_tokens),
    Part("engine.kv_cache_dtype", None, lambda spec: spec.engine.kv_cache_dtype),
    Part("engine.gpu_memory_utilization", None, lambda spec: spec.engine.gpu_memory_utilization),
    Part("engine.kv_cache_memory", None, lambda spec: spec.engine.kv_cache_memory),
    Part("engine.quantization", None, lambda spec: spec.engine.quantization),
    Part("engine.enforce_eager", None, lambda spec: spec.engine.enforce_eager),
    Part("engine.block_size", None, lambda spec: spec.engine.block_size),
    Part("engine.long_prefill_token_threshold", None, lambda spec: spec.engine.long_prefill_token_threshold),
    Part("engine.seed", None, lambda spec: spec.engine.seed),
    Part("engine.nccl", {}, lambda spec: dict(spec.engine.nccl or {})),
    Part("engine.cache", None, lambda spec: _cache(spec.engine.cache)),
    Part("images.pull_policy", "IfNotPresent", lambda spec: spec.images.pull_policy),
    Part("images.pull_secrets", [], lambda spec: list(spec.images.pull_secrets)),
    Part("model.tools", "auto", lambda spec: spec.tools),
    Part("model.reasoning", "auto", lambda spec: spec.reasoning),
    Part("model.chat_template", None, lambda spec: _text_hash(spec.model.chat_template)),
    Part("model.credentials_secret", "", lambda spec: spec.model.credentials_secret),
    Part("model.service_account_name", "", lambda spec: spec.model.service_account_name),
    Part("volume", None, lambda spec: _volume(spec.model.source)),
    Part("adapter_limits", None, lambda spec: _adapter_limits(spec.adapter_limits)),
    Part("walls.engine_key", "auto", lambda spec: spec.walls.engine_key),
    Part("walls.source_egress", "direct", lambda spec: spec.walls.source_egress),
    Part("restarted_at", None, lambda spec: _moment(spec.rollout.restarted_at)),
)

#: What two weights must have in common to be swapped in a running engine.
SHAPE: Final[tuple[Part[ModelFacts], ...]] = (
    Part("shape.architecture", None, lambda facts: facts.architecture),
    Part("shape.layers", None, lambda facts: facts.layers),
    Part("shape.hidden_size", None, lambda facts: facts.hidden_size),
    Part("shape.heads", None, lambda facts: facts.heads),
    Part("shape.kv_heads", None, lambda facts: facts.kv_heads),
    Part("shape.head_dim", None, lambda facts: facts.head_dim),
    Part("shape.vocabulary", None, lambda facts: facts.vocabulary),
    Part("shape.dtype", None, lambda facts: facts.dtype),
    Part("shape.quantization", "", lambda facts: facts.quantization),
    Part("shape.tied_embeddings", False, lambda facts: facts.tied_embeddings),
)

_TOLERATION: Final[tuple[Part[Toleration], ...]] = (
    Part("key", "", lambda one: one.key),
    Part("operator", "Equal", lambda one: one.operator),
    Part("value", "", lambda one: one.value),
    Part("effect", "", lambda one: one.effect),
    Part("toleration_seconds", None, lambda one: one.toleration_seconds),
)

_CLAIM: Final[tuple[Part[ClaimTemplate], ...]] = (
    Part("storage_class_name", "", lambda claim: claim.storage_class_name),
    Part("size", None, lambda claim: claim.size),
)


_CACHE: Final[tuple[Part[EngineCache], ...]] = (
    Part("claim_name", "", lambda cache: cache.claim_name),
    Part("on_staging_claim", False, lambda cache: cache.on_staging_claim),
)


_PROMPT: Final[tuple[Part[GoldenPrompt], ...]] = (
    Part("prompt", None, lambda one: one.prompt),
    Part("expect", "", lambda one: one.expect),
    Part("pattern", "", lambda one: one.pattern),
    Part("tools", [], lambda one: [[tool.name, tool.description, tool.parameters] for tool in one.tools]),
    Part("expect_call", None, lambda one: one.expect_call and [one.expect_call.name, one.expect_call.arguments]),
    Part("answer_schema", "", lambda one: one.answer_schema),
    Part("max_tokens", 32, lambda one: one.max_tokens),
    Part("chat", True, lambda one: one.chat),
)

#: What decides whether the groups of a template are good.
VERIFICATION: Final[tuple[Part[LlamaDeploymentSpec], ...]] = (
    Part("verify.golden", [], lambda spec: [_values(_PROMPT, one.message()) for one in spec.verify.golden_prompts]),
    Part("verify.quality_texts", [], lambda spec: list(spec.verify.texts)),
    Part("verify.max_quality_drop", 0.5, lambda spec: spec.verify.max_logprob_drop),
    Part("verify.agreement", True, lambda spec: spec.verify.agreement),
    Part("canary.groups", 0, lambda spec: spec.rollout.canary.groups),
    Part("canary.seconds", 300, lambda spec: spec.rollout.canary.seconds),
    Part("canary.max_error_rate", 0.01, lambda spec: spec.rollout.canary.max_error_rate),
    Part("canary.max_first_byte_ratio", 2.0, lambda spec: spec.rollout.canary.max_first_byte_ratio),
)


def template_hash(spec: LlamaDeploymentSpec, facts: ModelFacts, *, serving_image: str) -> str:
    """Return eight hexadecimal characters; equal templates give equal hashes.

    ``serving_image`` is the image that the group runs: see ``llama_operator.plan.groups.images``.
    """
    return short_hash({**_values(SPEC, spec), **_values(SHAPE, facts), "serving_image": serving_image})


def verification_hash(spec: LlamaDeploymentSpec, *, key: str) -> str:
    """Return a hash of how a rollout is verified; ``key`` is that of its template.

    A rollout that was given up is tried again when this differs.
    """
    return short_hash({**_values(VERIFICATION, spec), "key": key})


def _values(parts: tuple[Part[Subject], ...], subject: Subject) -> dict[str, Any]:
    """Return the values that are not left out, nested by section."""
    found: dict[str, Any] = {}
    for part in parts:
        value = part.value(subject)
        if value != part.absent:
            section, dot, name = part.key.partition(".")
            (found.setdefault(section, {}) if dot else found)[name or section] = value
    return found


def _toleration(one: Toleration) -> dict[str, Any]:
    return _values(_TOLERATION, one)


def _term(term: NodeTerm) -> dict[str, Any]:
    return {"all": [[one.key, one.operator, *one.values] for one in term.match_expressions]}


def _claim(claim: ClaimTemplate | None) -> dict[str, Any] | None:
    return None if claim is None else _values(_CLAIM, claim)


def _cache(cache: EngineCache | None) -> dict[str, Any] | None:
    return None if cache is None else _values(_CACHE, cache)


def _text_hash(template: ChatTemplateRef | None) -> str | None:
    """Return a hash of the template's text: where it lies makes no pod different."""
    return short_hash(template.text) if template else None


def _adapter_limits(limits: AdapterLimitsSpec | None) -> list[int | None] | None:
    return [limits.slots, limits.held, limits.max_rank] if limits else None


def _moment(time: datetime | None) -> str | None:
    """Spell a time in one way, whatever its zone."""
    return time.astimezone(UTC).isoformat() if time else None


def _volume(source: str) -> str:
    """Return the claim that is mounted; everything else comes through the stager."""
    return f"pvc://{split(source).host}" if is_mounted(source) else "staged"
