"""The form of the log reaches what the operator starts, and only where it is not text."""

from dataclasses import replace
from typing import Any

import pytest

from llama_operator.manifests.common import Context
from llama_operator.manifests.rehearsal import rehearsal_pods
from llama_operator.manifests.stage import stage_pod
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.naming import GroupId
from llama_operator.plan.rehearsal.rehearsal import Rehearsal
from llama_serving.config import names
from tests.fakes.samples import CPU_SPEC, context_of, weights_in


def containers(log_format: str) -> list[dict[str, Any]]:
    """Those of a stage and of a rehearsal."""
    context: Context = context_of(CPU_SPEC)
    context = replace(context, settings=replace(context.settings, log_format=log_format))
    template = GroupTemplate("5pec5pec", "7emp7emp", "90d590d5", "w", weights_in(context), context.spec)
    pods = rehearsal_pods(context, Rehearsal(context.key.name, template, ("a", "b"), True))
    pods.append(stage_pod(context, CreateStage(GroupId("chat", 0, "90d590d5"), 0)))
    return [one for pod in pods for part in ("containers", "initContainers") for one in pod["spec"].get(part, ())]


@pytest.mark.parametrize(("log_format", "value"), [("text", None), ("json", "json")])
def test_every_process_gets_the_form_that_is_not_text(log_format: str, value: str | None) -> None:
    found = containers(log_format)
    assert {one["name"] for one in found} == {"stage", "stager", "rehearsal", "model-config"}
    for one in found:
        if one["name"] == "model-config":  # a command: it ends with one sentence, and has no log
            continue
        environment = {item["name"]: item.get("value") for item in one["env"]}
        assert environment.get(names.ENV_LOG_FORMAT) == value
