"""Writes the golden manifests: ``python -m tests.unit.operator.golden``. Review each change: it is what runs."""

import sys
from pathlib import Path
from typing import Final

import yaml

from llama_operator.manifests.gateway import token_secret
from llama_operator.manifests.stage import stage_pod
from llama_operator.observe import Snapshot
from llama_operator.ports import Manifest
from llama_operator.reconcile import Bodies, snapshot
from tests.fakes.samples import SAMPLES, all_changes, context_of, whole_plan

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
    stages = [stage_pod(context, item) for item in whole_plan(context).creates]
    others = [child for child in children(name) if child["kind"] == "Pod" and child not in stages]
    gateways = [child["spec"]["template"] for child in children(name) if child["kind"] == "Deployment"]
    return stages + others + gateways


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: object) -> bool:
        return True


def text(name: str) -> str:
    """The golden file's text."""
    documents = yaml.dump_all(children(name), Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True)
    return f"# Written by `python -m tests.unit.operator.golden`.\n{documents}"


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for name in SAMPLES:
        (FOLDER / f"{name}.yaml").write_text(text(name))
        sys.stdout.write(f"{FOLDER / name}.yaml\n")


if __name__ == "__main__":
    main()
