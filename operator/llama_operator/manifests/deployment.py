"""What a deployment has once: its gateway, and what its stages share: account, token, disruption budget."""

from llama_operator.manifests.common import Context, key_secret, metadata, selector, service_account
from llama_operator.manifests.gateway import gateway_network_policy, gateway_objects
from llama_operator.manifests.walls.engine_key import engine_key_secret
from llama_operator.manifests.walls.fetch import fetch_key_secret
from llama_operator.manifests.walls.network import dns_egress, source_egress
from llama_operator.plan.naming import rehearsals_name, stager_key_name, stages_name, token_name
from llama_operator.ports import Manifest
from llama_serving.config import names
from llama_serving.config.source import is_mounted


def deployment_objects(context: Context, *, stages: int | None = None) -> list[Manifest]:
    """Return all that a deployment has once, in the order in which it is needed; the token comes separately.

    ``stages``: pods of the smallest group that is to be there, where they are not all of the spec.
    """
    account = service_account(context, stages_name(context.key.name), names.COMPONENT_STAGE, mount=False)
    return [
        account,
        *gateway_objects(context),
        *_stages_budget(context, stages or context.spec.sharding.pipeline),
        gateway_network_policy(context),
        _rehearsal_network_policy(context),
    ]


def pod_secrets(context: Context, *, proxy: bool) -> list[Manifest]:
    """Return the Secrets with a drawn key that pods mount beside the token; ``proxy``: a fetch proxy is wanted."""
    return [engine_key_secret(context), *([fetch_key_secret(context)] if proxy else [])]


def token_secret(context: Context) -> Manifest:
    """Return the Secret without its token, which is drawn where it is created."""
    return key_secret(context, token_name(context.key.name), names.COMPONENT_STAGE)


def _rehearsal_network_policy(context: Context) -> Manifest:
    """Let nobody call a rehearsal. It reads the source's small files, if any."""
    spec = context.spec
    identity = bool(spec.model.service_account_name)
    sources = [] if is_mounted(spec.model.source) else source_egress(context.settings, own_identity=identity)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(context, rehearsals_name(context.key.name), names.COMPONENT_REHEARSAL),
        "spec": {
            "podSelector": {"matchLabels": selector(context, names.COMPONENT_REHEARSAL)},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [dns_egress(), *sources],
        },
    }


def stager_key_secret(context: Context) -> Manifest:
    """Return the Secret of the stagers without its key, likewise; the engine's container never mounts it."""
    return key_secret(context, stager_key_name(context.key.name), names.COMPONENT_STAGE)


def _stages_budget(context: Context, stages: int) -> list[Manifest]:
    """Evictions take one group at a time: at least the pods of all other groups stay.

    A budget over pods without a controller of a known kind can only be a plain ``minAvailable``. One group alone gets
    none: its node could never be drained. While groups have different numbers of stages it protects fewer pods.
    """
    others = context.spec.replicas - 1
    if others < 1:
        return []
    labels = selector(context, names.COMPONENT_STAGE)
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(context, stages_name(context.key.name), names.COMPONENT_STAGE),
            "spec": {"minAvailable": others * stages, "selector": {"matchLabels": labels}},
        }
    ]
