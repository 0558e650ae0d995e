"""The LlamaWeights that a deployment makes: named by its content, shared by all deployments that want the same.

Each of them applies the whole object with a field manager of its own; the owner references add up, and the last one
that lets go deletes it. Only what may differ between two deployments (where and from which image the weights are
resolved) is written again, by the only owner, and only while the weights are not ready.
"""

from llama_operator.api import (
    API_VERSION,
    KIND,
    WEIGHTS_KIND,
    LlamaWeightsSpec,
    ModelSpec,
    ResolverImages,
    ResolverPlacement,
)
from llama_operator.manifests.common import Context, owner
from llama_operator.observe.deployment import WeightsView
from llama_operator.observe.weights import resolver_settings
from llama_operator.plan.naming import weights_name
from llama_operator.ports import Manifest
from llama_serving.config import names


def weights_object(context: Context, model: ModelSpec) -> Manifest:
    """Return the object, with this deployment as an owner that is not its controller."""
    return {
        "apiVersion": API_VERSION,
        "kind": WEIGHTS_KIND,
        "metadata": {
            "name": weights_name(model),
            "namespace": context.key.namespace,
            "labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY},
            "ownerReferences": [owner(KIND, context.key.name, context.uid, controller=False)],
        },
        "spec": weights_spec(context, model).to_api(),
    }


def weights_due(context: Context, model: ModelSpec, view: WeightsView | None) -> bool:
    """Whether ``weights_object`` has to be applied, given the weights of this content that are there."""
    if view is None:
        return True
    if not view.ours:
        return False
    if context.uid not in view.owners:
        return True
    return (
        not view.ready
        and view.owners == {context.uid}
        and view.resolver_settings != resolver_settings(weights_spec(context, model))
    )


def weights_spec(context: Context, model: ModelSpec) -> LlamaWeightsSpec:
    """Resolve the weights where the stages will run: a volume that is bound to a node must serve them too."""
    placement, images = context.spec.placement, context.spec.images
    return LlamaWeightsSpec(
        source=model.source,
        revision=model.revision,
        license=model.license,
        accept_license=model.accept_license,
        credentials_secret=model.credentials_secret,
        service_account_name=model.service_account_name,
        digest=model.digest,
        placement=ResolverPlacement(node_selector=placement.node_selector, tolerations=placement.tolerations),
        images=ResolverImages(pull_policy=images.pull_policy, pull_secrets=images.pull_secrets),
    )
