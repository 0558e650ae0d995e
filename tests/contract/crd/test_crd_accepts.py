"""What the API server makes of good objects: defaults, columns, subresources, and options it does not know."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from llama_operator.api import (
    AdapterFactsStatus,
    Condition,
    GroupStatus,
    LlamaAdapterSpec,
    LlamaAdapterStatus,
    LlamaDeploymentSpec,
    LlamaDeploymentStatus,
    LlamaWeightsSpec,
)
from tests.contract.crd.bad_adapter_inputs import VALID_ADAPTER
from tests.contract.crd.bad_inputs import VALID, VALID_WEIGHTS, merged
from tests.contract.support.apiserver import ROOT, ApiServer

pytestmark = pytest.mark.apiserver

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def read(apiserver: ApiServer, namespace: str, name: str = "llama") -> dict[str, Any]:
    return apiserver.rest.get(namespace, "lld", name)


@pytest.fixture
def there(apiserver: ApiServer, namespace: str) -> str:
    """A namespace in which the valid object is."""
    apiserver.rest.create(namespace, VALID)
    return namespace


def test_the_api_server_fills_in_the_defaults_of_the_models(apiserver: ApiServer, there: str) -> None:
    assert read(apiserver, there)["spec"] == LlamaDeploymentSpec.model_validate(VALID["spec"]).to_api()


def test_a_section_that_is_partly_written_keeps_the_other_defaults(apiserver: ApiServer, there: str) -> None:
    asked = merged(VALID, {"spec": {"gateway": {"resources": {"cpu": 2}}}})
    apiserver.run("apply", "--namespace", there, "-f", "-", stdin=yaml.safe_dump(asked))
    gateway = LlamaDeploymentSpec.model_validate(read(apiserver, there)["spec"]).gateway
    assert (gateway.resources.cpu, gateway.resources.memory, gateway.max_queue_length) == ("2", "256Mi", 1000)


def some_status() -> LlamaDeploymentStatus:
    since = "2026-01-02T03:04:05Z"
    condition = {
        "type": "Available",
        "status": "False",
        "reason": "Waiting",
        "message": "m",
        "lastTransitionTime": since,
    }
    group = {
        "ordinal": 0,
        "name": "llama-abc-0",
        "podHash": "abc",
        "state": "Starting",
        "nodes": ["a", ""],
        "since": since,
    }
    return LlamaDeploymentStatus(
        observed_generation=1,
        replicas=1,
        groups_ready="0/1",
        selector="llama-operator.dev/deployment=llama",
        weights="w1",
        reason="EngineStarting",
        message="engine starting, 12 s so far",
        groups=(GroupStatus.model_validate(group),),
        conditions=(Condition.model_validate(condition),),
    )


def write_status(apiserver: ApiServer, namespace: str, status: LlamaDeploymentStatus) -> None:
    apiserver.rest.patch(namespace, "lld", "llama", change={"status": status.to_api()}, subresource="status")


def test_a_status_comes_back_as_it_was_written(apiserver: ApiServer, there: str) -> None:
    write_status(apiserver, there, some_status())
    seen = read(apiserver, there)
    assert LlamaDeploymentStatus.model_validate(seen["status"]) == some_status()
    assert seen["metadata"]["generation"] == 1  # a status is no change of the spec


def test_columns_show_groups_weights_reason_and_age(apiserver: ApiServer, there: str) -> None:
    write_status(apiserver, there, some_status())
    header, row = apiserver.run("get", "lld", "-n", there).splitlines()
    assert header.split() == ["NAME", "GROUPS", "WEIGHTS", "REASON", "AGE"]
    assert row.split()[:4] == ["llama", "0/1", "w1", "EngineStarting"]
    wide = apiserver.run("get", "lld", "-n", there, "--output", "wide")
    assert "engine starting, 12 s so far" in wide
    assert VALID["spec"]["model"]["source"] in wide


def test_kubectl_scale_changes_the_replicas(apiserver: ApiServer, there: str) -> None:
    write_status(apiserver, there, some_status())
    apiserver.run("scale", "lld", "llama", "-n", there, "--replicas=3")
    scale = json.loads(apiserver.run("get", "lld", "llama", "-n", there, "--subresource=scale", "--output=json"))
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 1, "selector": "llama-operator.dev/deployment=llama"}


def test_kubectl_get_all_lists_deployments(apiserver: ApiServer, there: str) -> None:
    assert "llamadeployment.llama-operator.dev/llama" in apiserver.run("get", "all", "-n", there)


def test_an_engine_option_not_allowed_never_gets_in_even_without_strict_validation(
    apiserver: ApiServer, namespace: str
) -> None:
    asked = merged(VALID, {"spec": {"engine": {"trustRemoteCode": True, "seed": 7}}})
    done = apiserver.kubectl("apply", "--validate=warn", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(asked))
    assert 'Warning: unknown field "spec.engine.trustRemoteCode"' in done.stderr
    assert read(apiserver, namespace)["spec"]["engine"] == {"seed": 7}


def test_the_longest_name_is_taken(apiserver: ApiServer, namespace: str) -> None:
    named = merged(VALID, {"metadata": {"name": "n" * 45}})
    apiserver.run("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(named))


def test_the_served_name_may_be_spelled_out_later(apiserver: ApiServer, there: str) -> None:
    spelled = merged(VALID, {"spec": {"model": {"servedName": "llama"}}})
    apiserver.run("apply", "-n", there, "-f", "-", stdin=yaml.safe_dump(spelled))


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"source": "pvc://models"}},
        {"model": {"source": "pvc://models/"}},
        {"model": {"source": "pvc://team.models/a/b_c/v1.0/"}},
        {"model": {"source": "pvc://models/llama/{revision}"}},
        {"model": {"source": "hf://meta-llama/Llama-3.1-8B-Instruct", "credentialsSecret": "hub"}},
        {"model": {"source": "s3://models/llama-3.1_8B/{revision}/"}},
        {"model": {"source": "gs://my.bucket/a@b"}},
        {"model": {"source": "az://company/models/llama/{revision}"}},
        {"model": {"source": "hf://meta-llama/Llama-3.1-8B/original"}},
        {"model": {"source": "https://models.example.com:8443/~llama/{revision}"}},
        {"model": {"source": "http://[fd00::1]:8080/llama"}},
        {"model": {"source": "oci://registry:5000/models/llama-3.1-8b", "revision": f"sha256:{'0' * 64}"}},
        {"model": {"digest": f"sha256:{'0' * 64}"}},
        {"staging": {"sizeLimit": "200Gi"}},
        {"staging": {"sharedClaimName": "shared"}},
        {"staging": {"volumeClaimTemplate": {"size": "100Gi", "storageClassName": "fast"}}},
        {"model": {"revision": "refs/tags/v1.0"}},
        {"device": {"resource": "cpu"}, "sharding": {"pipeline": 4}},
        {"device": {"resource": "nvidia.com/mig-3g.40gb", "count": 2}, "sharding": {"tensor": 2}},
        {"resources": {"cpu": "1500m", "memory": 2_147_483_648, "sharedMemory": "64Mi"}},
        {"images": {"serving": "localhost:5000/llama/serving:dev", "gateway": "a@sha256:" + "0" * 64}},
        {"placement": {"nodeSelector": {"zone": "", "example.com/pool": "a"}}},
        {"placement": {"tolerations": [{"operator": "Exists"}]}},
        {"engine": {"gpuMemoryUtilization": 0.5, "blockSize": 16}},
        {"gateway": {"cors": {"origins": ["*"]}}},
        {
            "gateway": {
                "cors": {"origins": ["https://*.example.com:8443", "http://localhost:3000", "http://[::1]:3000"]}
            }
        },
        {"gateway": {"cors": {"origins": ["app://obsidian.md", "https://chat.example.com"]}}},
        {
            "podTemplate": {
                "labels": {"team": "", "app.kubernetes.io/part-of": "chat", "kueue.x-k8s.io/queue-name": "a"}
            }
        },
        {"device": {"extra": {"rdma/hca_a": 64, "vpc.amazonaws.com/efa": "32", "hugepages-2Mi": "5Gi"}}},
        {"device": {"extra": {"nvidia.com/hostdev": 1, "openshift.io/rail_0": 1}, "ipcLock": True}},
        {"device": {"extra": {"networking.gke.io.networks/rdma-0": 1, "amd.com/nic": 1, "aliyun/erdma": 1}}},
        {"device": {"resource": "cpu", "claimTemplate": "gpus.v1"}},
        {"engine": {"nccl": {"NCCL_IB_HCA": "=mlx5_0:1,mlx5_1:1", "NCCL_IB_GID_INDEX": 3, "NCCL_IB_DISABLE": "0"}}},
        {"engine": {"nccl": {"NCCL_SOCKET_IFNAME": "=eth0", "GLOO_SOCKET_IFNAME": "^docker0,lo", "UCX_TLS": "rc,tcp"}}},
        {"engine": {"nccl": {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET", "NCCL_NET": "AWS Libfabric"}}},
        {"network": {"annotations": {"k8s.v1.cni.cncf.io/networks": "rail0, rail1@net2"}}},
        {
            "network": {
                "annotations": {
                    "networking.gke.io/default-interface": "eth0",
                    "networking.gke.io/interfaces": '[{"interfaceName":"eth0","network":"default"}, '
                    '{"interfaceName":"eth1","network":"rdma-0"}]',
                }
            }
        },
        {"placement": {"runtimeClassName": "nvidia", "schedulerName": "my-scheduler"}},
        {"placement": {"stagesTogether": "nvidia.com/gpu.clique", "groupsApart": "topology.kubernetes.io/zone"}},
        {
            "placement": {
                "nodeAffinity": {
                    "required": [
                        {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["a", ""]}]},
                        {"matchExpressions": [{"key": "generation", "operator": "Gt", "values": ["-1"]}]},
                    ],
                    "preferred": [{"weight": 100, "matchExpressions": [{"key": "a.io/b", "operator": "DoesNotExist"}]}],
                }
            }
        },
        {"model": {"source": "s3://models/llama", "serviceAccountName": "model-reader"}},
        {"resources": {"sharedMemory": "64Gi"}},
        {"podTemplate": {"annotations": {"k8s.v1.cni.cncf.io/networks": "rail0"}}},
        {"podTemplate": {"annotations": {"sidecar.istio.io/inject": "false", "a": "x" * 16_384}}},
        {"podTemplate": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}}},
        {"gateway": {"podTemplate": {"labels": {"sidecar.istio.io/inject": "true"}}}},
        {
            "verify": {
                "goldenPrompts": [
                    {
                        "prompt": "The weather in Paris?",
                        "tools": [
                            {
                                "name": "get_weather",
                                "description": "Weather of a city",
                                "parameters": '\n{"type": "object",\n "properties": {"city": {"type": "string"}}}\n',
                            },
                            {"name": "now"},
                        ],
                        "expectCall": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                    },
                    {"prompt": "Hello", "tools": [{"name": "now"}], "expect": "Hello"},
                    {"prompt": "Call it", "tools": [{"name": "now"}], "expectCall": {"name": "now"}},
                    {"prompt": "Who?", "schema": '{"a": "' + "b" * 16_000 + '"}', "expect": "Ann", "chat": False},
                ],
                "namedQualityTexts": [{"name": "Thai", "text": "ตอนเย็นเด็กๆ เล่นฟุตบอลในสวน"}],
            }
        },
    ],
    ids=str,
)
def test_good_specs_are_taken(apiserver: ApiServer, namespace: str, sections: dict[str, Any]) -> None:
    asked = merged(VALID, {"spec": sections})
    found = LlamaDeploymentSpec.model_validate(apiserver.rest.create(namespace, asked)["spec"])
    assert found == LlamaDeploymentSpec.model_validate(asked["spec"]), "it adds the defaults of our models"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"source": "hf://meta-llama/Llama-3.1-8B", "revision": "main", "check": "listing"},
        {"source": "oci://registry/llama", "revision": "latest"},
        {"placement": {"nodeSelector": {"zone": "a"}, "tolerations": [{"operator": "Exists"}]}},
        {"images": {"pullSecrets": ["regcred"], "pullPolicy": "Never"}},
    ],
    ids=str,
)
def test_good_weights_are_taken(apiserver: ApiServer, namespace: str, fields: dict[str, Any]) -> None:
    asked = merged(VALID_WEIGHTS, {"spec": fields})
    found = LlamaWeightsSpec.model_validate(apiserver.rest.create(namespace, asked)["spec"])
    assert found == LlamaWeightsSpec.model_validate(asked["spec"]), "it adds the defaults of our models"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"source": "hf://team/support-sql", "revision": "main", "base": "meta-llama/Llama-3.1-8B-Instruct"},
        {"goldenPrompts": [{"prompt": "Which table?", "expect": "billing"}]},
    ],
    ids=str,
)
def test_good_adapters_are_taken(apiserver: ApiServer, namespace: str, fields: dict[str, Any]) -> None:
    asked = merged(VALID_ADAPTER, {"spec": fields})
    found = LlamaAdapterSpec.model_validate(apiserver.rest.create(namespace, asked)["spec"])
    assert found == LlamaAdapterSpec.model_validate(asked["spec"]), "it adds the defaults of our models"


def test_what_an_adapter_is_asked_may_be_changed_and_kubectl_lists_it(apiserver: ApiServer, namespace: str) -> None:
    for fields in ({}, {"goldenPrompts": [{"prompt": "a", "expect": "b"}]}, {"license": "mit"}, {"base": "llama"}):
        asked = merged(VALID_ADAPTER, {"spec": fields})
        apiserver.run("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(asked))
    facts = AdapterFactsStatus.model_validate(
        {
            "rank": 16, "alpha": 32, "layers": 32, "dtype": "bfloat16", "tensors": 448, "bytes": 84_000_000,
            "base_model": "llama", "target_modules": [{"name": "q_proj", "inputs": 4096, "outputs": 4096}],
        }
    )  # fmt: skip
    status = LlamaAdapterStatus(ready=True, reason="Accepted", size="84MB", short_digest="5b1c0a7e93d2", facts=facts)
    change = {"status": status.to_api()}
    apiserver.rest.patch(namespace, "lla", "support-sql", change=change, subresource="status")
    header, row = apiserver.run("get", "lla", "-n", namespace).splitlines()
    assert header.split() == ["NAME", "RANK", "BYTES", "DIGEST", "READY", "REASON", "AGE"]
    assert row.split()[:6] == ["support-sql", "16", "84MB", "5b1c0a7e93d2", "true", "Accepted"]
    found = apiserver.rest.get(namespace, "lla", "support-sql")["status"]
    assert LlamaAdapterStatus.model_validate(found).facts == facts


@pytest.mark.parametrize(
    "fields",
    [
        {"adapters": [{"name": "team/sql:v1", "adapter": "support-sql"}]},
        {"adapterSelector": {"matchLabels": {"team": "sql"}}, "adapterLimits": {"slots": 4}},
        {"adapterLimits": {"slots": 4, "held": 32, "maxRank": 320}},
    ],
    ids=str,
)
def test_deployments_with_adapters_are_taken(apiserver: ApiServer, namespace: str, fields: dict[str, Any]) -> None:
    asked = merged(VALID, {"spec": fields})
    found = LlamaDeploymentSpec.model_validate(apiserver.rest.create(namespace, asked)["spec"])
    assert found == LlamaDeploymentSpec.model_validate(asked["spec"])


def test_the_license_and_the_credentials_of_weights_may_be_changed(apiserver: ApiServer, namespace: str) -> None:
    for fields in ({}, {"license": "mit"}, {"credentialsSecret": "new"}):
        asked = merged(VALID_WEIGHTS, {"spec": fields})
        apiserver.run("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(asked))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_taken(apiserver: ApiServer, namespace: str, path: Path) -> None:
    apiserver.run("apply", "-n", namespace, "-f", str(path))


def test_examples_cover_the_sizes_of_llama_and_stay_short() -> None:
    names = {path.stem for path in EXAMPLES}
    assert names >= {"smollm2-cpu", "llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b-bf16", "llama-3.1-405b-fp8"}
    for path in EXAMPLES:
        if path.stem == "autoscaling":  # what fifteen lines have no room for
            continue
        lines = path.read_text().splitlines()
        assert len(lines[lines.index("spec:") + 1 :]) <= 15, path.name
