"""What a group has beside its pods: names for its stages, the file it starts from, and who may talk to it."""

from llama_operator.api import CPU, parse_source
from llama_operator.api.quantity import parse
from llama_operator.manifests.common import Context, canonical_json, labels_of, metadata, selector
from llama_operator.plan.naming import GroupId
from llama_operator.ports import Manifest
from llama_serving.config import names
from llama_serving.config.cell import CellConfig, CellTimeouts, Layout, Weights

CONFIG_KEY = "cell.json"


def group_objects(context: Context, group: GroupId) -> list[Manifest]:
    """Headless Service, ConfigMap and NetworkPolicy of a group."""
    return [_service(context, group), _config_map(context, group), _network_policy(context, group)]


def cell_config(context: Context, group: GroupId) -> CellConfig:
    """The file from which the group's stages start, alone."""
    spec = context.spec
    cpu = spec.device.resource == CPU
    return CellConfig(
        deployment=context.key.name,
        namespace=context.key.namespace,
        group=group.ordinal,
        revision=group.revision,
        stage_hosts=tuple(group.host(stage, context.key.namespace) for stage in range(spec.sharding.pipeline)),
        weights=Weights(path=model_path(spec.model.source), id=spec.model.revision, served_name=context.served_name),
        layout=Layout(pipeline=spec.sharding.pipeline, tensor=spec.sharding.tensor, device="cpu" if cpu else "gpu"),
        context_length=spec.context_length,
        dtype=spec.dtype,
        max_num_seqs=spec.max_concurrent_requests,
        engine_options=spec.engine.options(),
        cpus_per_stage=max(int(parse(spec.resources.cpu)), 1),
        timeouts=CellTimeouts(start=spec.start_timeout_seconds, drain=spec.drain_timeout_seconds),
    )


def model_path(source: str) -> str:
    """Where the model's folder is inside a pod."""
    path = parse_source(source).path
    return f"{names.MODEL_MOUNT}/{path}" if path else names.MODEL_MOUNT


def model_volume(source: str) -> Manifest:
    """The claim that holds the model, never written to."""
    return {
        "name": "model",
        "persistentVolumeClaim": {"claimName": parse_source(source).claim, "readOnly": True},
    }


def _labels(group: GroupId) -> dict[str, str]:
    return {"group": str(group.ordinal), "revision": group.revision}


def _selector(context: Context, group: GroupId) -> dict[str, str]:
    managed = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    found = labels_of(context, names.COMPONENT_STAGE, **_labels(group))
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


def _config_map(context: Context, group: GroupId) -> Manifest:
    config = cell_config(context, group).model_dump(mode="json")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(context, group.name, names.COMPONENT_STAGE, **_labels(group)),
        "data": {CONFIG_KEY: canonical_json(config)},
    }


def _network_policy(context: Context, group: GroupId) -> Manifest:
    """A stage hears its own group on all ports, gateways on the engine's, the operator on state and Serve's API."""
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
                {
                    "from": [operator_peer(context)],
                    "ports": [tcp(names.PORT_STATE), tcp(names.PORT_RAY_DASHBOARD)],
                },
            ],
            "egress": [{"to": [own]}, dns_egress()],
        },
    }


def tcp(port: int) -> Manifest:
    """A TCP port of a NetworkPolicy."""
    return {"port": port, "protocol": "TCP"}


def dns_egress() -> Manifest:
    """DNS, wherever the cluster runs it."""
    return {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def operator_peer(context: Context) -> Manifest:
    """The operator's own pods."""
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": context.settings.operator_namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": names.MANAGED_BY}},
    }
