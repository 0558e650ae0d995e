"""What spec.access and gateway.tls, route and ingress add to the objects of a deployment, and nothing besides."""

from dataclasses import replace
from typing import Any

import pytest

from llama_operator.manifests.common import Context
from llama_operator.manifests.deployment import deployment_objects
from llama_operator.manifests.diff import covers
from llama_operator.manifests.edge.access import rules_object
from llama_operator.manifests.gateway import gateway_config
from llama_operator.observe.exposure import HTTP_ROUTE, INGRESS
from llama_operator.ports import Manifest
from llama_serving.config import names
from llama_serving.config.access.rules import ACCESS_FILE, MOST_KEYS, AccessKey, AccessRules
from llama_serving.config.gateway import GatewayConfig
from tests.fakes.samples import CPU_SPEC, context_of

KEYS: dict[str, Any] = {"access": {"mode": "keys"}}
TLS: dict[str, Any] = {"gateway": {"tls": {"secretName": "chat-tls"}}}


def objects(context: Context) -> dict[tuple[str, str], Manifest]:
    return {(one["kind"], one["metadata"]["name"]): one for one in deployment_objects(context)}


def changed(spec: dict[str, Any]) -> dict[tuple[str, str], Manifest]:
    before, after = objects(context_of(CPU_SPEC)), objects(context_of(CPU_SPEC | spec))
    return {name: after[name] for name in after if after[name] != before.get(name)}


def test_access_changes_what_gateways_may_read_their_file_and_who_reaches_them() -> None:
    found = changed(KEYS)
    assert set(found) == {(kind, "chat-gateway") for kind in ("Role", "ConfigMap", "Deployment", "NetworkPolicy")}
    assert GatewayConfig.model_validate_json(found["ConfigMap", "chat-gateway"]["data"]["gateway.json"]).access


def test_fields_that_are_not_used_are_neither_sent_nor_hashed() -> None:
    config = gateway_config(context_of(CPU_SPEC))
    assert not {"access", "tls"} & config.to_file().keys()
    assert not {"access", "tls"} & config.to_hash().keys()
    used = gateway_config(context_of(CPU_SPEC | KEYS | TLS))
    assert {"access", "tls"} <= used.to_file().keys() & used.to_hash().keys()


def test_tls_mounts_certificate_and_key_and_leaves_port_and_probes_as_they_are() -> None:
    found = changed(TLS)
    assert set(found) == {("Service", "chat"), ("ConfigMap", "chat-gateway"), ("Deployment", "chat-gateway")}
    (port,) = found["Service", "chat"]["spec"]["ports"]
    assert (port["port"], port["name"], port["appProtocol"]) == (80, "http", "https")
    pod = found["Deployment", "chat-gateway"]["spec"]["template"]["spec"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "tls"]
    assert volume["secret"]["secretName"] == "chat-tls"
    assert [one["key"] for one in volume["secret"]["items"]] == ["tls.crt", "tls.key"]
    (container,) = pod["containers"]
    assert {"name": "tls", "mountPath": names.GATEWAY_TLS_MOUNT, "readOnly": True} in container["volumeMounts"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": container[probe]["httpGet"]["path"], "port": "admin"}


def exposed(kind: str, **gateway: Any) -> Manifest:
    context = replace(context_of(CPU_SPEC | {"gateway": gateway}), exposed=frozenset({kind}))
    return objects(context)[kind, "chat-gateway"]


def test_a_route_leads_to_the_service() -> None:
    parents = [{"name": "front", "namespace": "infra", "sectionName": "https"}]
    found = exposed(
        HTTP_ROUTE, route={"parents": parents, "hostnames": ["chat.example.com"], "requestTimeoutSeconds": 0}
    )
    assert found["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert found["spec"]["parentRefs"] == parents
    assert found["spec"]["hostnames"] == ["chat.example.com"]
    (rule,) = found["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "chat", "port": 80}]
    assert rule["timeouts"] == {"request": "0s"}


def test_what_a_route_does_not_say_is_left_to_the_gateway() -> None:
    found = exposed(HTTP_ROUTE, route={"parents": [{"name": "front"}]})
    assert found["spec"]["parentRefs"] == [{"name": "front"}]
    assert found["spec"].keys() == {"parentRefs", "rules"}
    assert "timeouts" not in found["spec"]["rules"][0]


def test_an_ingress_leads_to_the_service() -> None:
    ingress = {
        "host": "chat.example.com", "className": "nginx", "tlsSecretName": "chat-example-com",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "3600"},
    }  # fmt: skip
    found = exposed(INGRESS, ingress=ingress)
    assert found["metadata"]["annotations"] == ingress["annotations"]
    assert found["spec"]["ingressClassName"] == "nginx"
    assert found["spec"]["tls"] == [{"hosts": ["chat.example.com"], "secretName": "chat-example-com"}]
    (path,) = found["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"] == {"service": {"name": "chat", "port": {"number": 80}}}


@pytest.mark.parametrize(
    "gateway", [{"route": {"parents": [{"name": "a"}]}}, {"ingress": {"host": "a.example.com"}}], ids=str
)
def test_a_kind_that_may_not_be_written_is_not(gateway: dict[str, Any]) -> None:
    assert not {HTTP_ROUTE, INGRESS} & {kind for kind, _ in objects(context_of(CPU_SPEC | {"gateway": gateway}))}


def test_what_the_api_server_adds_is_no_difference() -> None:
    wanted = exposed(HTTP_ROUTE, route={"parents": [{"name": "front"}]})
    seen = {**wanted, "spec": {**wanted["spec"]}, "status": {"parents": []}}
    seen["spec"]["parentRefs"] = [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "front"}]
    assert covers(seen, wanted)


def test_the_secret_with_the_most_keys_fits_into_one() -> None:
    keys = tuple(AccessKey(name=f"key-{number:04}", sha256=f"{number:064x}", weight=2) for number in range(MOST_KEYS))
    found = rules_object(context_of(CPU_SPEC | KEYS), AccessRules(mode="keys", keys=keys))
    assert found["metadata"]["labels"][names.LABEL_ACCESS_KEY] == names.ACCESS_RULES
    assert len(found["data"][ACCESS_FILE]) * 3 // 4 < 1 << 20
