"""Which LlamaWeights a deployment wants to be there, and which it lets go of."""

from llama_operator.api import LlamaDeploymentSpec, ModelSpec
from llama_operator.observe.deployment import WeightsView
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate


def deployment_models(spec: LlamaDeploymentSpec, stable: GroupTemplate | None) -> tuple[ModelSpec, ...]:
    """Return the models of the present spec and of the stable template: groups may have to go back to the latter."""
    if stable is None or stable.spec.model == spec.model:
        return (spec.model,)
    return (spec.model, stable.spec.model)


def releases(state: PlanState, models: tuple[ModelSpec, ...]) -> tuple[WeightsView, ...]:
    """Return the weights of this deployment that no group has or may soon have.

    Those that served before stay for a while: a user who goes back to them must not wait until they are read again.
    """
    snapshot = state.snapshot
    needed = {group.target_digest for group in state.groups} | {one.digest for one in snapshot.status.baselines}
    wanted = {view.name for model in models if (view := state.weights_of(model))}
    mine = (view for _, view in sorted(snapshot.weights.items()) if snapshot.uid in view.owners and view.ours)
    return tuple(view for view in mine if view.name not in wanted and view.digest not in needed)
