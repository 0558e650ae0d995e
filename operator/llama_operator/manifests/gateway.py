"""The gateway of a deployment: its pods, their rights and file, its Service, and who may reach it."""

from typing import Any

from llama_operator.api.crdgen.quantity import parse_bytes
from llama_operator.hashing import short_hash
from llama_operator.manifests.common import (
    Context,
    canonical_json,
    child_labels,
    container_security,
    image_settings,
    metadata,
    pod_security,
    probe,
    selector,
    service_account,
)
from llama_operator.manifests.disk import bounded
from llama_operator.manifests.edge.access import access_rights, ledger_mounts, ledger_sizes, ledger_volumes
from llama_operator.manifests.edge.exposure import exposure_objects, service_protocol, tls_mounts, tls_volumes
from llama_operator.manifests.pod_metadata import with_pod_metadata
from llama_operator.manifests.walls.engine_key import engine_key_mount, engine_key_volume
from llama_operator.manifests.walls.network import api_server_egress, dns_egress, metrics_peers, operator_peer, tcp
from llama_operator.plan.groups.images import gateway_image
from llama_operator.plan.naming import gateway_name
from llama_operator.ports import Manifest
from llama_serving.config import names
from llama_serving.config.gateway import GatewayConfig

CONFIG_KEY = "gateway.json"
# A gateway is taken from its Service before it stops listening; the pod gets this much on top of its own drain time.
GRACE_MARGIN = 15
# Seconds that a gateway is ready before it counts as available: a kube-proxy takes up to one until it sends connections
# to it, and refuses them when it knows no other. The moment of readiness is kept in whole seconds.
READY_SECONDS = 3
GATEWAY = names.COMPONENT_GATEWAY


def gateway_objects(context: Context) -> list[Manifest]:
    """Return the gateway and its rights, in the order in which they are needed."""
    return [
        service_account(context, gateway_name(context.key.name), GATEWAY, mount=True),
        _role(context),
        _role_binding(context),
        _config_map(context),
        _service(context),
        _deployment(context),
        _budget(context),
        *exposure_objects(context),
    ]


def gateway_config(context: Context) -> GatewayConfig:
    """Return the gateways' start file. They share a group's batch evenly, so that waiting happens in them."""
    spec = context.spec.gateway
    share = -(-context.spec.max_concurrent_requests // spec.replicas)
    served_name = context.spec.model.name_in_api(context.key.name)
    return GatewayConfig(
        deployment=context.key.name,
        namespace=context.key.namespace,
        max_in_flight_per_group=spec.max_in_flight_per_group or share,
        max_queue_length=spec.max_queue_length,
        queue_timeout=spec.queue_timeout_seconds,
        shed_after=spec.shed_after_seconds,
        sse_keep_alive=spec.sse_keep_alive_seconds,
        connect_timeout=spec.connect_timeout_seconds,
        first_byte_timeout=context.spec.first_byte_timeout,
        idle_timeout=spec.idle_timeout_seconds,
        max_body=parse_bytes(spec.max_body_size),
        drain=context.spec.gateway_drain,
        served_name=None if served_name == context.key.name else served_name,
        cors_origins=spec.cors.origins if spec.cors else (),
        access=context.spec.access is not None,
        tls=spec.tls is not None,
    )


def _role(context: Context) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata(context, gateway_name(context.key.name), GATEWAY),
        "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
            *access_rights(context),
        ],
    }


def _role_binding(context: Context) -> Manifest:
    name = gateway_name(context.key.name)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata(context, name, GATEWAY),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": context.key.namespace}],
    }


def _config_map(context: Context) -> Manifest:
    data = {CONFIG_KEY: canonical_json(gateway_config(context).to_file())}
    if context.models is not None:  # read again when it changes, so it is in no hash of the pods
        data[names.GATEWAY_MODELS_FILE] = canonical_json(context.models.to_wire())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(context, gateway_name(context.key.name), GATEWAY),
        "data": data,
    }


def _service(context: Context) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(context, context.key.name, GATEWAY),
        "spec": {
            "selector": selector(context, GATEWAY),
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", **service_protocol(context)}
            ],
        },
    }


def _deployment(context: Context) -> Manifest:
    spec = context.spec.gateway
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(context, gateway_name(context.key.name), GATEWAY),
        "spec": {
            "replicas": spec.replicas,
            "minReadySeconds": READY_SECONDS,
            "selector": {"matchLabels": selector(context, GATEWAY)},
            # A gateway holds requests: the next one is there before one goes.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": with_pod_metadata(
                    _pod_metadata(context), spec.pod_template.over(context.spec.pod_template)
                ),
                "spec": _pod_spec(context),
            },
        },
    }


def _pod_metadata(context: Context) -> dict[str, Any]:
    # A gateway reads its file once, at its start: another file makes another pod.
    config = short_hash(gateway_config(context).to_hash())
    return {"labels": child_labels(context, GATEWAY), "annotations": {names.ANNOTATION_CONFIG: config}}


def _pod_spec(context: Context) -> dict[str, Any]:
    name = gateway_name(context.key.name)
    return {
        "serviceAccountName": name,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": context.spec.gateway_drain + GRACE_MARGIN,
        "securityContext": pod_security(),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(context, GATEWAY)},
            }
        ],
        **image_settings(context),
        "containers": [_container(context)],
        "volumes": [
            {"name": "config", "configMap": {"name": name}},
            engine_key_volume(context),
            *tls_volumes(context),
            *ledger_volumes(context),
        ],
    }


def _container(context: Context) -> dict[str, Any]:
    resources = context.spec.gateway.resources
    amounts = {"cpu": resources.cpu, "memory": resources.memory}
    return {
        "name": "gateway",
        "image": gateway_image(context.spec, context.settings),
        "imagePullPolicy": context.spec.images.pull_policy,
        "args": ["python3", "-m", "llama_serving.gateway"],
        "ports": [
            {"name": "http", "containerPort": names.PORT_GATEWAY, "protocol": "TCP"},
            {"name": "admin", "containerPort": names.PORT_GATEWAY_ADMIN, "protocol": "TCP"},
        ],
        # No CPU limit: throttling would add latency to every stream.
        "resources": bounded({"requests": amounts, "limits": {"memory": resources.memory}}, *ledger_sizes(context)),
        "securityContext": container_security(),
        "livenessProbe": probe(names.ROUTE_LIVE, "admin", period=10, failures=3, timeout=2),
        # One that ends leaves the Service by its deletion. On a busy node all may miss a probe or two at once, and a
        # Service without endpoints refuses what the gateways would have held.
        "readinessProbe": probe(names.ROUTE_READY, "admin", period=1, failures=5, timeout=5),
        "volumeMounts": [
            {"name": "config", "mountPath": names.GATEWAY_CONFIG_PATH.rpartition("/")[0], "readOnly": True},
            engine_key_mount(),
            *tls_mounts(context),
            *ledger_mounts(context),
        ],
    }


def _budget(context: Context) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(context, gateway_name(context.key.name), GATEWAY),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(context, GATEWAY)}},
    }


def gateway_network_policy(context: Context) -> Manifest:
    """Let anybody ask the API, and the operator and who is labelled for metrics read load and metrics.

    A gateway reaches its groups and the API server, from which it knows them. With ``spec.access`` gateways tell each
    other what each client used.
    """
    gateways = {"podSelector": {"matchLabels": selector(context, GATEWAY)}}
    peers = [gateways] if context.spec.access is not None else []
    stages = {"podSelector": {"matchLabels": selector(context, names.COMPONENT_STAGE)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(context, gateway_name(context.key.name), GATEWAY),
        "spec": {
            "podSelector": {"matchLabels": selector(context, GATEWAY)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"ports": [tcp(names.PORT_GATEWAY)]},
                {"from": [operator_peer(context), *metrics_peers(), *peers], "ports": [tcp(names.PORT_GATEWAY_ADMIN)]},
            ],
            "egress": [
                {"to": [stages], "ports": [tcp(names.PORT_ENGINE), tcp(names.PORT_STATE)]},
                *({"to": [peer], "ports": [tcp(names.PORT_GATEWAY_ADMIN)]} for peer in peers),
                dns_egress(),
                api_server_egress(context.settings),
            ],
        },
    }
