"""What a pass leaves to the next ones, in the status: it is written before anything is done by it."""

from dataclasses import dataclass

from llama_operator.api.v1alpha1.status import (
    AutoscalingStatus,
    Baseline,
    DefaultImages,
    LlamaDeploymentStatus,
    NodeStrikes,
    PastRollout,
    RequeueState,
    RolloutStatus,
    StableTemplate,
    StageResourcesStatus,
)


@dataclass(frozen=True)
class Persisted:
    """The part of the status that is read back."""

    rollout: RolloutStatus | None = None
    history: tuple[PastRollout, ...] = ()
    stable: StableTemplate | None = None
    baselines: tuple[Baseline, ...] = ()
    requeues: tuple[RequeueState, ...] = ()
    autoscaling: AutoscalingStatus | None = None
    node_strikes: tuple[NodeStrikes, ...] = ()
    default_images: tuple[DefaultImages, ...] = ()
    stage_resources: StageResourcesStatus | None = None


def persisted_state(status: LlamaDeploymentStatus) -> Persisted:
    """Read what earlier passes have left."""
    return Persisted(
        rollout=status.rollout,
        history=status.history,
        stable=status.stable,
        baselines=status.baselines,
        requeues=status.requeues,
        autoscaling=status.autoscaling,
        node_strikes=status.node_strikes,
        default_images=status.default_images,
        stage_resources=status.stage_resources,
    )
