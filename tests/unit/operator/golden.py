"""Writes the golden manifests: ``python -m tests.unit.operator.golden``. Review each change: it is what runs."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import yaml

from llama_operator.api import LlamaWeightsSpec
from llama_operator.manifests.deployment import token_secret
from llama_operator.manifests.diff import with_digest
from llama_operator.manifests.resolver import WeightsContext, resolver_job, resolver_objects
from llama_operator.manifests.stage import stage_pod
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.naming import resolver_job_name
from llama_operator.plan.weights.resolve import ResolveJob, resolve_key
from llama_operator.ports import Key, Manifest
from llama_operator.reconcile import Bodies, snapshot
from tests.fakes.samples import CPU_SPEC, SAMPLES, SETTINGS, all_changes, context_of, whole_plan
from tests.fakes.weights import NAME, REMOTE, SPEC, UID

FOLDER: Final = Path(__file__).parent / "golden"


def nothing_there(spec: dict[str, object]) -> Snapshot:
    """A world that has only the object."""
    return snapshot(Bodies({"metadata": {"namespace": "team", "name": "chat"}, "spec": spec}, ()))


def children(name: str) -> list[Manifest]:
    """All objects of a sample, in the order in which they are written."""
    context = context_of(SAMPLES[name])
    due = all_changes(context, nothing_there(SAMPLES[name]))
    return [token_secret(context), *(write.manifest for write in due.applies)]


def pods(name: str) -> list[Manifest]:
    """The pods among them, and the template of the gateways."""
    context = context_of(SAMPLES[name])
    stages = [stage_pod(context, item) for item in whole_plan(context).actions.creates]
    others = [child for child in children(name) if child["kind"] == "Pod" and child not in stages]
    gateways = [child["spec"]["template"] for child in children(name) if child["kind"] == "Deployment"]
    return stages + others + gateways


def resolver(spec: dict[str, object]) -> list[Manifest]:
    """What looks at some weights, in the order in which it is written."""
    wanted = LlamaWeightsSpec.model_validate(spec)
    context = WeightsContext(Key("team", NAME), UID, wanted, SETTINGS)
    job = resolver_job(context, ResolveJob(resolver_job_name(NAME, resolve_key(wanted, SETTINGS)), 1))
    return [*map(with_digest, resolver_objects(context)), job]


def staged_pod() -> list[Manifest]:
    """A stage into which weights are brought."""
    claim = {"volumeClaimTemplate": {"size": "9Gi"}}
    context = context_of({**CPU_SPEC, "model": REMOTE, "staging": claim})
    return [stage_pod(context, whole_plan(context).actions.creates[0])]


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: object) -> bool:
        return True


def text(documents: list[Manifest]) -> str:
    """A golden file's text."""
    body = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True)
    return f"# Written by `python -m tests.unit.operator.golden`.\n{body}"


#: File name -> what is in it.
FILES: Final[dict[str, Callable[[], list[Manifest]]]] = {
    **{name: partial(children, name) for name in SAMPLES},
    "resolver-claim": partial(resolver, SPEC),
    "resolver-bucket": partial(resolver, REMOTE),
    "staged": staged_pod,
}


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for name, documents in FILES.items():
        (FOLDER / f"{name}.yaml").write_text(text(documents()))
        sys.stdout.write(f"{FOLDER / name}.yaml\n")


if __name__ == "__main__":
    main()
