"""What a group has beside its pods: names for its stages, the file it starts from, and who may talk to it."""

from llama_operator.api import CPU, LlamaDeploymentSpec
from llama_operator.api.crdgen.quantity import parse
from llama_operator.hashing import short_hash
from llama_operator.manifests.common import Context, canonical_json, child_labels, metadata, selector
from llama_operator.manifests.walls.fetch import fetch_peer, fetches, fetches_by_proxy
from llama_operator.manifests.walls.network import dns_egress, metrics_peers, operator_peer, source_egress, tcp
from llama_operator.plan.groups.images import serving_image
from llama_operator.plan.naming import GroupId
from llama_operator.ports import Manifest
from llama_serving.config import names
from llama_serving.config.cell import CellConfig, CellTimeouts, Layout, WeightsRef
from llama_serving.config.desired import WeightsArtifact

CONFIG_KEY = names.CELL_CONFIG_PATH.rpartition("/")[2]
NEXT_KEY = names.MANIFEST_PATH.rpartition("/")[2]
TEMPLATE_KEY = names.CHAT_TEMPLATE_PATH.rpartition("/")[2]


def group_objects(context: Context, group: GroupId, serve: WeightsArtifact) -> list[Manifest]:
    """Headless Service, ConfigMap and NetworkPolicy of a group whose pods start with the weights ``serve``."""
    return [_service(context, group), _config_map(context, group, serve), _network_policy(context, group)]


def cell_config(context: Context, group: GroupId, weights: WeightsRef) -> CellConfig:
    """Return the one file from which the group's stages start."""
    spec = context.spec
    cpu = spec.device.resource == CPU
    return CellConfig(
        deployment=context.key.name,
        namespace=context.key.namespace,
        group=group.ordinal,
        pod_hash=group.pod_hash,
        stage_hosts=tuple(group.host(stage, context.key.namespace) for stage in range(spec.sharding.pipeline)),
        weights=weights,
        layout=Layout(pipeline=spec.sharding.pipeline, tensor=spec.sharding.tensor, device="cpu" if cpu else "gpu"),
        context_length=spec.context_length,
        dtype=spec.dtype,
        max_num_seqs=spec.max_concurrent_requests,
        engine_options=spec.engine.options(),
        cpus_per_stage=max(int(parse(spec.resources.size.cpu)), 1),
        extra_resources=tuple(sorted(spec.device.extra)),
        timeouts=CellTimeouts(start=spec.start_timeout_seconds, drain=spec.longest_drain),
        cache_key=_cache_key(context),
        tools=spec.tools,
        reasoning=spec.reasoning,
        chat_template=names.CHAT_TEMPLATE_PATH if spec.model.chat_template else "",
        adapters=spec.adapter_limits.limits() if spec.adapter_limits else None,
        staged=True,
    )


def chat_template_data(spec: LlamaDeploymentSpec) -> dict[str, str]:
    """Return the chat template that the spec names, by its key beside the cell's config; nothing where it names none.

    A copy, so that neither an edit nor a deletion of what the spec names reaches a group that is there.
    """
    template = spec.model.chat_template
    return {TEMPLATE_KEY: template.text} if template else {}


def _cache_key(context: Context) -> str:
    """Return a hash of what compiled code depends on, besides the GPU, which the pod knows; empty without a cache."""
    spec = context.spec
    if spec.engine.cache is None:
        return ""
    image = serving_image(spec, context.settings)
    return short_hash([image, spec.device.resource, spec.sharding.pipeline, spec.sharding.tensor])


def _labels(group: GroupId) -> dict[str, str]:
    return {"group": str(group.ordinal), "pod_hash": group.pod_hash}


def _selector(context: Context, group: GroupId) -> dict[str, str]:
    managed = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    found = child_labels(context, names.COMPONENT_STAGE, **_labels(group))
    return {key: value for key, value in found.items() if key not in managed}


def _service(context: Context, group: GroupId) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(context, group.name, names.COMPONENT_STAGE, **_labels(group)),
        "spec": {
            "clusterIP": "None",
            # Stages must find each other before any of them is ready.
            "publishNotReadyAddresses": True,
            "selector": _selector(context, group),
            "ports": [
                {"name": "engine", "port": names.PORT_ENGINE, "targetPort": names.PORT_ENGINE, "protocol": "TCP"},
                {"name": "state", "port": names.PORT_STATE, "targetPort": names.PORT_STATE, "protocol": "TCP"},
            ],
        },
    }


def _config_map(context: Context, group: GroupId, serve: WeightsArtifact) -> Manifest:
    files = {CONFIG_KEY: cell_config(context, group, serve.weights), NEXT_KEY: serve}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(context, group.name, names.COMPONENT_STAGE, **_labels(group)),
        "data": {
            **{key: canonical_json(content.to_wire()) for key, content in files.items()},
            **chat_template_data(context.spec),
        },
    }


def _egress(context: Context) -> list[Manifest]:
    """Return where a stage pod may go beside its group."""
    spec = context.spec
    if fetches_by_proxy(spec):
        return [dns_egress(), {"to": [fetch_peer(context)], "ports": [tcp(names.PORT_FETCH)]}]
    if not fetches(spec):
        return [dns_egress()]
    return [dns_egress(), *source_egress(context.settings, own_identity=bool(spec.model.service_account_name))]


def _network_policy(context: Context, group: GroupId) -> Manifest:
    """Admit the own group on all ports, gateways on the engine's, the operator on the supervisor's, scrapers on theirs.

    A stage reaches its group and DNS; where weights or adapters are fetched, their proxy, or whatever may be a source:
    a policy knows pods, not containers.
    """
    own = {"podSelector": {"matchLabels": _selector(context, group)}}
    gateways = {"podSelector": {"matchLabels": selector(context, names.COMPONENT_GATEWAY)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(context, group.name, names.COMPONENT_STAGE, **_labels(group)),
        "spec": {
            "podSelector": {"matchLabels": _selector(context, group)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [own]},
                {"from": [gateways], "ports": [tcp(names.PORT_ENGINE), tcp(names.PORT_STATE)]},
                {"from": [operator_peer(context)], "ports": [tcp(names.PORT_STATE)]},
                {"from": metrics_peers(), "ports": [tcp(names.PORT_METRICS)]},
            ],
            "egress": [{"to": [own]}, *_egress(context)],
        },
    }
