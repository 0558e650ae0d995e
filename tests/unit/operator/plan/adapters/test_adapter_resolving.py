"""A LlamaAdapter is resolved by the loop of LlamaWeights: a Job of its own command, and a status of its own facts."""

from typing import Any, Final

from llama_operator.api import ADAPTERS_KIND, API_VERSION, LlamaAdapterSpec, LlamaAdapterStatus
from llama_operator.manifests.resolver import WeightsContext, resolver_job, resolver_objects
from llama_operator.observe.weights import WeightsSnapshot, weights_snapshot
from llama_operator.plan.weights.resolve import ResolveJob, plan_weights, resolve_key
from llama_operator.ports import Key
from llama_operator.status.weights import weights_status
from llama_serving.config import names
from llama_serving.config.model import MANIFEST_KEY, AdapterFacts, TargetModule, WeightsReport
from tests.fakes.adapters import adapter
from tests.fakes.models import packed
from tests.fakes.weights import SPEC, ended, pod_body
from tests.unit.operator.plan.weights.test_resolve import NOW, SETTINGS, ago

UID: Final = "uid-of-sql"
MANIFEST: Final = adapter().manifest()
FACTS: Final = AdapterFacts(
    rank=4, alpha=8, target_modules=(TargetModule(name="q_proj", inputs=8, outputs=8),), layers=2, dtype="bfloat16",
    tensors=4, bytes=100,
)  # fmt: skip
ACCEPTED: Final = WeightsReport(
    outcome="accepted", reason="Accepted", message="LoRA of rank 4", adapter=FACTS, digest=MANIFEST.digest,
    bytes=MANIFEST.bytes, files=2, license="apache-2.0", revision="v1",
)  # fmt: skip


def spec(**fields: Any) -> LlamaAdapterSpec:
    return LlamaAdapterSpec.model_validate({**SPEC, **fields})


def context() -> WeightsContext:
    return WeightsContext(Key("team", "sql"), UID, spec(), SETTINGS, ADAPTERS_KIND)


def world(report: WeightsReport | None = None) -> WeightsSnapshot:
    """The object and, with a report, the Job that ended with it, and the manifest."""
    meta = {"name": "sql", "namespace": "team", "uid": UID, "generation": 1}
    body = {"apiVersion": API_VERSION, "kind": ADAPTERS_KIND, "metadata": meta, "spec": SPEC}
    if report is None:
        return weights_snapshot(body, ())
    first = plan_weights(weights_snapshot(body, ()), SETTINGS, NOW)
    assert first.start
    job = resolver_job(context(), first.start)
    job["metadata"] |= {"uid": "uid-of-job", "creationTimestamp": "2026-01-01T11:58:30Z"}
    stored = resolver_objects(context())[0]
    stored["binaryData"] = {MANIFEST_KEY: packed(MANIFEST)}
    pod = pod_body(job, created=ago(90), **ended(report.model_dump_json(), at=ago(1)))
    return weights_snapshot(body, (stored, job, pod))


def test_its_children_have_names_and_labels_that_no_weights_have() -> None:
    found = [*resolver_objects(context()), resolver_job(context(), ResolveJob("sql-1", 1))]
    assert {one["metadata"]["labels"][names.LABEL_ADAPTER] for one in found} == {"sql"}
    assert not any(names.LABEL_WEIGHTS in one["metadata"]["labels"] for one in found)
    assert {one["metadata"]["name"] for one in found} == {"sql.adapter-manifest", "sql.adapter-resolver", "sql-1"}
    assert {one["metadata"]["ownerReferences"][0]["kind"] for one in found} == {"LlamaAdapter"}
    arguments = found[-1]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[3:6] == ["resolve-adapter", "--source", SPEC["source"]]
    assert "--check" not in arguments
    assert arguments[-2:] == ["--config-map", "team/sql.adapter-manifest"]


def test_what_it_is_asked_is_no_part_of_what_is_read() -> None:
    prompts = [{"prompt": "a", "expect": "b"}]
    keys = {resolve_key(one, SETTINGS) for one in (spec(), spec(base="llama"), spec(goldenPrompts=prompts))}
    assert len(keys) == 1
    assert resolve_key(spec(revision="v2"), SETTINGS) not in keys


def test_what_was_found_is_its_status_and_stays() -> None:
    seen = world(ACCEPTED)
    status = weights_status(seen, plan_weights(seen, SETTINGS, NOW), (), now=NOW)
    assert isinstance(status, LlamaAdapterStatus)
    assert status.ready
    assert status.facts is not None
    assert (status.facts.rank, status.digest, status.manifest) == (4, MANIFEST.digest, "sql.adapter-manifest")
    assert LlamaAdapterStatus.model_validate(status.to_api()) == status


def test_a_report_of_weights_is_no_report_of_an_adapter() -> None:
    found = plan_weights(world(ACCEPTED.model_copy(update={"adapter": None})), SETTINGS, NOW)
    assert found.last_attempt is not None
    assert (found.last_attempt.refused, found.message) == (True, "the report has no facts")
