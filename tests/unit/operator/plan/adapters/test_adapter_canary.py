"""A changed adapter on one group first: counted there, then on all groups, or on none."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.api.v1alpha1.rollout import CanarySpec
from llama_operator.api.v1alpha1.status import AdapterCanaryStatus
from llama_operator.plan.adapters.canary import adapter_canaries
from llama_operator.plan.adapters.progress import report_adapters
from llama_operator.plan.adapters.steps import adapter_note, group_adapters
from llama_operator.plan.groups.state import PlanState
from llama_serving.config.gateway import FIRST_BYTE_BOUNDS, AnswerCounts, GatewayLoad
from llama_serving.config.reasons import Reason
from tests.fakes.models import digest_of
from tests.unit.operator.plan.adapters.worlds import FakeGroup, Named, id_of_adapter, notes, seen

SECONDS = 20
WATCHED = CanarySpec(groups=1, seconds=SECONDS)
OLD, NEW = id_of_adapter("style"), id_of_adapter("style", 2)
Answers = Callable[[str], tuple[int, int, int]]  # from an id to finished, failed, and the class of the first byte


def well(_: str) -> tuple[int, int, int]:
    return 4, 0, 2


@dataclass
class Run:
    """Groups with the adapter `style` under load: one pass and one second at a time."""

    groups: list[FakeGroup]
    canary: CanarySpec = WATCHED
    canaries: tuple[AdapterCanaryStatus, ...] = ()
    counts: dict[str, list[int]] = field(default_factory=dict)
    second: int = 0
    state: PlanState | None = None

    def __post_init__(self) -> None:
        for _ in range(FakeGroup.SECONDS + 2):
            self.step(1, well)

    def forget(self) -> None:
        """The operator died before it wrote its status."""
        self.canaries = ()

    def step(self, version: int, answers: Answers) -> None:
        """A pass; then a second in which every announced version answers."""
        self.state = self._seen(version)
        for fake, group in zip(self.groups, self.state.groups, strict=True):
            if (note := adapter_note(group, self.state)) is not None:
                fake.note = note.text
            fake.told = group_adapters(group, self.state, digest=digest_of("v1"))
        for id_ in {one["style"] for one in notes(self.groups) if one}:
            finished, failed, late = answers(id_)
            count = self.counts.setdefault(id_, [0, 0, *[0] * (len(FIRST_BYTE_BOUNDS) + 1)])
            for place, more in ((0, finished), (1, failed), (2 + late, finished)):
                count[place] += more
        for fake in self.groups:
            fake.tick()
        self.second += 1

    def _seen(self, version: int) -> PlanState:
        found = seen(self.groups, (Named("style", version),), [self._load()])
        spec = found.spec.model_copy(update={"rollout": found.spec.rollout.model_copy(update={"canary": self.canary})})
        status = found.snapshot.status.model_copy(update={"adapter_canaries": self.canaries})
        state = replace(
            found,
            snapshot=replace(found.snapshot, spec=spec, status=status),
            now=found.now + timedelta(seconds=self.second),
        )
        self.canaries = adapter_canaries(state)
        return replace(state, adapter_canaries={one.name: one for one in self.canaries})

    def _load(self) -> GatewayLoad:
        by_adapter = {
            id_: AnswerCounts(finished=one[0], failed=one[1], first_byte=tuple(one[2:]))
            for id_, one in self.counts.items()
        }
        return GatewayLoad(
            waiting=0, oldest_wait=0, in_flight=0, draining=False, groups=(), totals={}, by_adapter=by_adapter
        )

    def until(self, version: int, answers: Answers, seconds: int) -> Iterator[list[str]]:
        """Yield, second by second, the id that each group answers with."""
        for _ in range(seconds):
            self.step(version, answers)
            yield [one.get("style", "") for one in notes(self.groups)]

    @property
    def status(self) -> tuple[str, str, str]:
        """State, reason and message of the adapter."""
        assert self.state is not None
        (one,) = report_adapters(self.state).statuses
        return one.state, one.reason, one.message


def failing(share: int, version: str = NEW) -> Answers:
    """Of ten answers of one version so many fail."""
    return lambda id_: (10 - share, share, 2) if id_ == version else (10, 0, 2)


def test_one_group_answers_with_the_new_version_for_the_time_of_the_canary() -> None:
    run = Run([FakeGroup(0), FakeGroup(1), FakeGroup(2)])
    history = list(run.until(2, well, SECONDS + 12))
    first = history.index([NEW, OLD, OLD])
    assert history[first : first + SECONDS] == [[NEW, OLD, OLD]] * SECONDS
    assert history[-1] == [NEW, NEW, NEW]
    assert [one.state for one in run.canaries] == ["passed"]
    assert run.canaries[0].counter_baselines == ()
    assert all("" not in ids for ids in history), "the name is served at every moment"


def test_what_is_waited_for_is_said() -> None:
    run = Run([FakeGroup(0), FakeGroup(1)])
    list(run.until(2, well, 10))
    assert run.status == (
        "Loading",
        Reason.LOADING_ADAPTERS,
        f"adapter style: one group answers with {NEW}, and the others get it after {SECONDS} s; "
        "spec.rollout.canary says so",
    )


@pytest.mark.parametrize("groups", [1, 3])
def test_a_version_that_fails_more_goes_and_the_former_one_comes_back_everywhere(groups: int) -> None:
    run = Run([FakeGroup(number) for number in range(groups)])
    history = list(run.until(2, failing(3), 3 * SECONDS))
    assert any(NEW in ids for ids in history), "it was tried"
    assert all(NEW not in ids[1:] for ids in history), "by one group"
    assert history[-1] == [OLD] * groups
    assert all("" not in ids for ids in history)
    state, reason, message = run.status
    assert (state, reason) == ("LeftOut", Reason.CANARY_FAILED)
    assert message.startswith(f"adapter style is {OLD} again on every group: ")
    assert f"requests failed on {NEW}" in message
    assert "spec.rollout.canary.maxErrorRate allows 1.0%" in message


def test_a_version_that_begins_its_answers_late_goes() -> None:
    run = Run([FakeGroup(0), FakeGroup(1)])
    history = list(run.until(2, lambda id_: (10, 0, 9 if id_ == NEW else 2), 2 * SECONDS))
    assert history[-1] == [OLD, OLD]
    assert "first byte (99th percentile)" in run.status[2]


def test_failures_of_before_the_canary_are_not_its_own() -> None:
    run = Run([FakeGroup(0), FakeGroup(1)])
    run.counts[NEW] = [5, 500, *[0] * (len(FIRST_BYTE_BOUNDS) + 1)]
    assert list(run.until(2, well, SECONDS + 12))[-1] == [NEW, NEW]


def test_other_bytes_are_tried_after_a_version_that_failed() -> None:
    run = Run([FakeGroup(0), FakeGroup(1)])
    list(run.until(2, failing(5), 2 * SECONDS))
    third = id_of_adapter("style", 3)
    history = list(run.until(3, well, SECONDS + 12))
    assert [third, OLD] in history
    assert history[-1] == [third, third]


def test_the_spec_may_go_back_to_the_former_version_at_once() -> None:
    run = Run([FakeGroup(0), FakeGroup(1)])
    list(run.until(2, well, 8))
    assert notes(run.groups) == [{"style": NEW}, {"style": OLD}]
    history = list(run.until(1, well, 6))
    assert history[-1] == [OLD, OLD]
    assert run.canaries == ()


def test_an_operator_that_dies_before_it_has_written_its_status_begins_the_canary_again() -> None:
    run = Run([FakeGroup(0), FakeGroup(1)])
    run.step(2, well)
    assert [one.state for one in run.canaries] == ["loading"]
    run.forget()
    history = list(run.until(2, well, SECONDS))
    assert history[-1] == [NEW, OLD]
    assert [one.state for one in run.canaries] == ["watching"]


def test_without_a_canary_the_others_follow_at_once() -> None:
    run = Run([FakeGroup(0), FakeGroup(1)], canary=CanarySpec())
    assert list(run.until(2, failing(5), 8))[-1] == [NEW, NEW]
    assert run.canaries == ()


def test_a_new_name_has_nothing_to_go_back_to() -> None:
    run = Run([FakeGroup(0), FakeGroup(1)])
    assert run.canaries == ()
    assert [one["style"] for one in notes(run.groups)] == [OLD, OLD]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 3), st.integers(1, 12)), max_size=6),
    st.integers(1, 3),
)
def test_a_name_is_served_at_every_moment_and_a_canary_by_one_group(
    edits: list[tuple[int, int, int]], groups: int
) -> None:
    """Whatever the spec names and however it fails; ids of canaries that have not passed are on one group."""
    run = Run([FakeGroup(number) for number in range(groups)])
    for version, share, seconds in edits:
        for ids in run.until(version, failing(share, id_of_adapter("style", version)), seconds):
            assert "" not in ids
            tried: Mapping[str, str] = {one.id: one.state for one in run.canaries}
            assert all(ids.count(one) <= 1 for one, state in tried.items() if state in ("loading", "watching"))
