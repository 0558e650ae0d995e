"""The walls around pods: who mounts which key, and where each pod may go."""

from dataclasses import replace
from typing import Any

import pytest

from llama_operator.manifests.common import Context
from llama_operator.manifests.deployment import deployment_objects
from llama_operator.manifests.group import group_objects
from llama_operator.manifests.stage import stage_pod
from llama_operator.manifests.walls.fetch import fetch_objects
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.naming import GroupId
from llama_serving.config import names
from tests.fakes.models import FACTS
from tests.fakes.samples import CPU_SPEC, context_of, weights_in

GROUP = GroupId("chat", 0, "r1")
REMOTE = {**CPU_SPEC["model"], "source": "hf://meta-llama/Llama-3.1-8B", "credentialsSecret": "hub"}
PROXY = {**CPU_SPEC, "model": REMOTE, "walls": {"sourceEgress": "proxy"}}
ENGINE_KEY = "/var/run/secrets/llama-engine"
FETCH_KEY = "/var/run/secrets/llama-fetch"


def pod(context: Context) -> dict[str, Any]:
    spec: dict[str, Any] = stage_pod(context, CreateStage(GROUP, 0))["spec"]
    return spec


def mounts(container: dict[str, Any]) -> set[str]:
    return {one["mountPath"] for one in container["volumeMounts"]}


def egress(manifests: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    found = next(one for one in manifests if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == name)
    assert found["spec"]["policyTypes"] == ["Ingress", "Egress"]
    rules: list[dict[str, Any]] = found["spec"]["egress"]
    assert {} not in rules, "no pod may go everywhere"
    return rules


@pytest.mark.parametrize(
    ("spec", "asks"),
    [
        ({}, True),
        ({"images": {"gateway": "old:1"}}, False),
        ({"images": {"gateway": "old:1"}, "walls": {"engineKey": "required"}}, True),
        ({"walls": {"engineKey": "unused"}}, False),
    ],
)
def test_engines_ask_for_the_key_where_gateways_surely_know_it(spec: dict[str, Any], *, asks: bool) -> None:
    context = context_of({**CPU_SPEC, **spec})
    stage = pod(context)
    assert (ENGINE_KEY in mounts(stage["containers"][0])) is asks
    assert ENGINE_KEY not in mounts(stage["initContainers"][0]), "a stager asks no engine"
    gateway = next(one for one in deployment_objects(context) if one["kind"] == "Deployment")
    assert ENGINE_KEY in mounts(gateway["spec"]["template"]["spec"]["containers"][0])
    secrets = {one["secret"]["secretName"] for one in gateway["spec"]["template"]["spec"]["volumes"] if "secret" in one}
    assert secrets == {"chat-engine-key"}, "a gateway never has the token with which code runs in a cell"


def test_with_the_proxy_a_stage_pod_reaches_its_group_dns_and_the_proxy() -> None:
    context = context_of(PROXY)
    group, dns, proxy = egress(group_objects(context, GROUP, weights_in(context)), GROUP.name)
    assert group["to"][0]["podSelector"]["matchLabels"][names.LABEL_GROUP] == "0"
    assert {one["port"] for one in dns["ports"]} == {53}
    assert proxy["ports"] == [{"port": names.PORT_FETCH, "protocol": "TCP"}]
    assert proxy["to"] == [{"podSelector": {"matchLabels": {
        names.LABEL_DEPLOYMENT: "chat", names.LABEL_COMPONENT: names.COMPONENT_FETCH}}}]  # fmt: skip


def test_only_the_stager_has_the_key_of_the_proxy_and_the_credentials() -> None:
    stage = pod(context_of(PROXY))
    stager, engine = stage["initContainers"][0], stage["containers"][0]
    assert FETCH_KEY in mounts(stager)
    assert names.CREDENTIALS_MOUNT in mounts(stager)
    assert {FETCH_KEY, names.CREDENTIALS_MOUNT} & mounts(engine) == set()
    assert {"name": names.ENV_FETCH_PROXY, "value": "chat-fetch.team.svc:3128"} in stager["env"]


def test_the_proxy_is_reached_by_stages_only_and_reaches_sources() -> None:
    _, deployment, policy = fetch_objects(context_of(PROXY))
    assert policy["spec"]["ingress"] == [
        {
            "from": [{"podSelector": {"matchLabels": {
                names.LABEL_DEPLOYMENT: "chat", names.LABEL_COMPONENT: names.COMPONENT_STAGE}}}],
            "ports": [{"port": names.PORT_FETCH, "protocol": "TCP"}],
        }
    ]  # fmt: skip
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert mounts(container) == {FETCH_KEY}, "it has no credentials: TLS ends at the stager and the source"


def test_what_may_be_a_source_is_no_address_of_the_cloud_under_the_node() -> None:
    context = context_of({**CPU_SPEC, "model": REMOTE})
    *_, sources = egress(group_objects(context, GROUP, weights_in(context)), GROUP.name)
    blocks = [one["ipBlock"] for one in sources["to"] if "ipBlock" in one]
    assert blocks == [
        {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]},
        {"cidr": "::/0", "except": ["fe80::/10"]},
    ]
    own = context_of({**CPU_SPEC, "model": {**REMOTE, "serviceAccountName": "reader"}})
    *_, sources = egress(group_objects(own, GROUP, weights_in(own)), GROUP.name)
    assert [one["ipBlock"] for one in sources["to"] if "ipBlock" in one] == [{"cidr": "0.0.0.0/0"}, {"cidr": "::/0"}]
    listed = replace(context, settings=replace(context.settings, source_cidrs=("192.0.2.0/24",)))
    *_, sources = egress(group_objects(listed, GROUP, weights_in(listed)), GROUP.name)
    assert sources == {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}


def test_a_gateway_reaches_its_stages_dns_and_the_api_server() -> None:
    context = context_of(CPU_SPEC)
    context = replace(context, settings=replace(context.settings, api_server_ports=(7443,)))
    stages, dns, api = egress(deployment_objects(context), "chat-gateway")
    assert {one["port"] for one in stages["ports"]} == {names.PORT_ENGINE, names.PORT_STATE}
    assert {one["port"] for one in dns["ports"]} == {53}
    assert api == {"ports": [{"port": 7443, "protocol": "TCP"}]}


def test_a_spec_that_uses_no_wall_has_the_template_of_before() -> None:
    context = context_of(CPU_SPEC)
    image = context.settings.serving_image
    plain = template_hash(context.spec, FACTS, serving_image=image)
    for walls in ({}, {"engineKey": "auto"}, {"sourceEgress": "direct"}):
        spec = context_of({**CPU_SPEC, "walls": walls}).spec
        assert template_hash(spec, FACTS, serving_image=image) == plain
    for walls in ({"engineKey": "unused"}, {"sourceEgress": "proxy"}):
        spec = context_of({**CPU_SPEC, "walls": walls}).spec
        assert template_hash(spec, FACTS, serving_image=image) != plain
