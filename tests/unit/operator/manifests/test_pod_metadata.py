"""Labels and annotations of users on pods: the operator's win, a running pod gets a change, and gets it once."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.placement import PodMetadata
from llama_operator.manifests.common import Context
from llama_operator.manifests.deployment import deployment_objects
from llama_operator.manifests.pod_metadata import relabels, stage_metadata, with_pod_metadata
from llama_operator.observe.pods import PodView, pod_view
from llama_operator.ports import Manifest
from llama_serving.config import names
from tests.fakes.world import KEY, SETTINGS, spec_of

OWN = {
    "labels": {names.LABEL_STAGE: "0", names.LABEL_COMPONENT: "stage"},
    "annotations": {names.ANNOTATION_WEIGHTS: "w"},
}
KEYS = st.sampled_from(
    ["team", "example.com/cost", "sidecar.istio.io/inject", names.LABEL_STAGE, names.LABEL_COMPONENT]
)
MAPS = st.dictionaries(KEYS, st.sampled_from(["", "a", "b"]), max_size=4)
TEMPLATES = st.builds(PodMetadata, labels=MAPS, annotations=MAPS)


def view(meta: Manifest) -> PodView:
    return pod_view({"metadata": {"name": "p", "uid": "u", **meta}})


def merged(meta: Manifest, template: PodMetadata) -> Manifest:
    """The pod after the writes that are due, as the API server merges them."""
    found = dict(meta)
    for relabel in relabels([view(meta)], template):
        for section, changes in (("labels", relabel.labels), ("annotations", relabel.annotations)):
            both = {**found.get(section, {}), **changes}
            found[section] = {key: value for key, value in both.items() if value is not None}
    return found


@given(created=TEMPLATES, changes=st.lists(TEMPLATES, max_size=3))
def test_a_pod_that_was_changed_is_as_one_that_was_created_so(created: PodMetadata, changes: list[PodMetadata]) -> None:
    pod = stage_metadata(OWN, created)
    for template in changes:
        pod = merged(pod, template)
    assert pod == stage_metadata(OWN, [created, *changes][-1])
    assert relabels([view(pod)], [created, *changes][-1]) == (), "it is written once"


@given(template=TEMPLATES)
def test_the_operators_own_always_win(template: PodMetadata) -> None:
    for found in (with_pod_metadata(OWN, template), merged(OWN, template)):
        assert found["labels"].items() >= OWN["labels"].items()
        assert found["annotations"].items() >= OWN["annotations"].items()


def test_without_a_template_nothing_is_added_and_nothing_written() -> None:
    assert stage_metadata(OWN, PodMetadata()) == OWN
    assert relabels([view(OWN)], PodMetadata()) == ()


def test_what_somebody_else_changed_is_not_fought_over() -> None:
    template = PodMetadata(labels={"team": "a"})
    pod = stage_metadata(OWN, template)
    pod["labels"] |= {"team": "theirs", "other": "x"}
    assert relabels([view(pod)], template) == ()
    assert merged(pod, PodMetadata())["labels"] == OWN["labels"] | {"other": "x"}


def test_a_pod_that_ends_is_left_alone_and_a_note_of_somebody_else_is_written_anew() -> None:
    template = PodMetadata(labels={"team": "a"})
    assert relabels([replace(view(OWN), phase="Failed")], template) == ()
    broken = {**OWN, "annotations": {**OWN["annotations"], names.ANNOTATION_POD_TEMPLATE: "{"}}
    assert merged(broken, template) == stage_metadata(OWN, template)


def test_the_gateways_own_are_over_those_of_all_pods() -> None:
    both = {"labels": {"team": "a", "mesh": "off"}, "annotations": {"note": "x"}}
    spec = LlamaDeploymentSpec.model_validate(
        spec_of(podTemplate=both, gateway={"podTemplate": {"labels": {"mesh": "on"}}})
    )
    objects = deployment_objects(Context(KEY, "u", spec, SETTINGS))
    (meta,) = [one["spec"]["template"]["metadata"] for one in objects if one["kind"] == "Deployment"]
    (selector,) = [one["spec"]["selector"]["matchLabels"] for one in objects if one["kind"] == "Deployment"]
    assert meta["labels"].items() >= {"team": "a", "mesh": "on"}.items()
    assert meta["annotations"]["note"] == "x"
    assert names.ANNOTATION_CONFIG in meta["annotations"]
    assert not {"team", "mesh"} & selector.keys()
