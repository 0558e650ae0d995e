"""Pods of a rehearsal: a stage's references, image and place, without its device, its claim and its weights."""

from dataclasses import replace
from typing import Any

import pytest

from llama_operator.manifests.rehearsal import rehearsal_config_map, rehearsal_pods, trial_objects
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.rehearsal.rehearsal import Rehearsal
from llama_operator.ports import Manifest
from llama_serving.config import names
from llama_serving.config.cell import CellConfig
from tests.fakes.samples import CPU_SPEC, GPU_SPEC, SAMPLES, context_of, weights_in


def made(spec: Any, nodes: tuple[str, ...] = ("a", "b")) -> tuple[Rehearsal, list[Manifest], list[Manifest], Manifest]:
    context = context_of(spec)
    template = GroupTemplate("5pec5pec", "7emp7emp", "90d590d5", "w", weights_in(context), context.spec)
    rehearsal = Rehearsal(context.key.name, template, nodes, True)
    pods, trial = rehearsal_pods(context, rehearsal), trial_objects(context, rehearsal)
    return rehearsal, pods, trial, rehearsal_config_map(context, rehearsal)


@pytest.mark.parametrize("name", SAMPLES)
def test_pods_satisfy_pod_security_restricted_and_need_next_to_nothing(name: str) -> None:
    _, pods, _, _ = made(SAMPLES[name])
    for pod in pods:
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["restartPolicy"] == "Never"
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            wanted = {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "0"}
            assert container["resources"]["requests"] == wanted
        assert pod["metadata"]["labels"][names.LABEL_COMPONENT] == names.COMPONENT_REHEARSAL
        assert names.LABEL_GROUP not in pod["metadata"]["labels"]


@pytest.mark.parametrize("name", SAMPLES)
def test_they_have_the_references_and_the_place_of_a_stage(name: str) -> None:
    _, pods, trial, _ = made(SAMPLES[name])
    stage = next(one for one in trial if one["kind"] == "Pod")["spec"]
    for pod in pods:
        spec = pod["spec"]
        for field in ("serviceAccountName", "nodeSelector", "tolerations"):
            assert spec[field] == stage[field]
        assert spec.get("imagePullSecrets") == stage.get("imagePullSecrets")
        assert spec["containers"][0]["image"] == stage["containers"][0]["image"]
        known = {
            key: volume for volume in stage["volumes"] for key in volume if key in ("secret", "persistentVolumeClaim")
        }
        mine = {
            key: volume for volume in spec["volumes"] for key in volume if key in ("secret", "persistentVolumeClaim")
        }
        for kind, volume in mine.items():
            assert volume in stage["volumes"], (kind, known)


def test_the_first_configures_on_cpu_and_the_others_bring_the_image_to_their_node() -> None:
    rehearsal, pods, _, config = made(CPU_SPEC)
    first, *others = [pod["spec"] for pod in pods]
    assert [pod["metadata"]["name"] for pod in pods] == [name for name, _ in rehearsal.pods]
    assert first["containers"][0]["args"][3:] == ["--model", names.MODEL_CONFIG_MOUNT]
    assert first["initContainers"][0]["args"][3] == "fetch-config"
    terms = [
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        for spec in others
    ]
    assert [term[0]["matchFields"][0]["values"] for term in terms] == [["a"], ["b"]]
    preferred = first["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    fields = [term["preference"]["matchFields"][0]["values"] for term in preferred]
    assert fields == [["a"], ["b"]], "the API server takes one name a term"
    assert all("initContainers" not in spec and len(spec["containers"][0]["args"]) == 3 for spec in others)
    cell = CellConfig.model_validate_json(config["data"]["cell.json"])
    assert cell.weights.served_name == context_of(CPU_SPEC).spec.model.name_in_api("chat")


def test_a_gpu_image_is_only_started() -> None:
    _, pods, _, _ = made(GPU_SPEC)
    assert all("--model" not in pod["spec"]["containers"][0]["args"] for pod in pods)


def test_the_trial_has_every_object_of_a_group() -> None:
    _, _, trial, _ = made(GPU_SPEC)
    stages = context_of(GPU_SPEC).spec.sharding.pipeline
    kinds = [one["kind"] for one in trial]
    assert kinds == ["Service", "ConfigMap", "NetworkPolicy", *["Pod"] * stages]
    rehearsed = replace(context_of(GPU_SPEC).key)
    assert {one["metadata"]["namespace"] for one in trial} == {rehearsed.namespace}
