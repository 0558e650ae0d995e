"""What a group is told of adapters and what its gateways are told, step by step; and what holds at every moment."""

from collections.abc import Set
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.plan.adapters.steps import (
    adapter_note,
    announced_adapters,
    group_adapters,
    served_models,
    start_waits_for,
)
from llama_operator.plan.groups.template import desired_template
from llama_operator.plan.groups.weights_step import step_actions, update_in_place
from llama_serving.config.gateway import AdapterLoad, ServedAdapter
from tests.fakes.models import digest_of
from tests.unit.operator.plan.adapters.worlds import (
    FakeGroup,
    Named,
    id_of_adapter,
    load,
    notes,
    one_pass,
    progress,
    room_file,
    seen,
)

STYLE = {"style": id_of_adapter("style")}
V1 = digest_of("v1")


def settle(groups: list[FakeGroup], *adapters: str | tuple[str, int], seconds: int = 6) -> None:
    """Let time pass with these adapters in the spec: names, or names with their versions."""
    for _ in range(seconds):
        one_pass(groups, tuple(Named(*([one] if isinstance(one, str) else one)) for one in adapters))
        for group in groups:
            group.tick()


def test_without_adapters_nothing_is_said() -> None:
    state = seen([FakeGroup(0)], ())
    (group,) = state.groups
    assert (group_adapters(group, state, digest=V1), adapter_note(group, state)) == ((), None)
    assert (start_waits_for(group, state), served_models(state, base="chat")) == ("", None)


def test_an_engine_without_room_is_told_of_none() -> None:
    """It runs since before the spec named any, and may not know the message."""
    state = seen([FakeGroup(0, room=0)], (Named("style"),))
    (group,) = state.groups
    assert (group_adapters(group, state, digest=V1), start_waits_for(group, state)) == ((), "")


def test_an_adapter_is_announced_once_it_is_verified() -> None:
    groups = [FakeGroup(0)]
    one_pass(groups, (Named("style"),))
    assert [one.adapter.id for one in groups[0].told] == [id_of_adapter("style")]
    for _ in range(FakeGroup.SECONDS):
        assert notes(groups) == [{}]
        groups[0].tick()
        one_pass(groups, (Named("style"),))
    assert notes(groups) == [STYLE]


def test_one_that_was_verified_on_another_base_is_not_announced() -> None:
    groups = [FakeGroup(0)]
    settle(groups, "style")
    state = seen(groups, (Named("style"),))
    (group,) = state.groups
    assert announced_adapters(group, state) == STYLE
    assert group.state is not None
    other = group.state.model_copy(update={"adapters": (progress("style", base="v2"),)})
    moved = replace(group, states={**group.states, 0: other})
    assert announced_adapters(moved, state) == {}
    assert group.target_digest == V1


@pytest.mark.parametrize(("outcome", "stays"), [("verifying", True), ("loading", False), ("refused", False)])
def test_one_that_is_asked_other_prompts_answers_meanwhile(outcome: str, stays: bool) -> None:
    groups = [FakeGroup(0)]
    settle(groups, "style")
    state = seen(groups, (Named("style"),))
    (group,) = state.groups
    assert group.state is not None
    again = group.state.model_copy(update={"adapters": (progress("style", outcome=outcome),)})
    asked = replace(group, states={**group.states, 0: again})
    assert announced_adapters(asked, state) == (STYLE if stays else {})


def test_one_that_leaves_the_spec_is_announced_no_more() -> None:
    groups = [FakeGroup(0)]
    settle(groups, "style", "tone")
    settle(groups, "tone", seconds=1)
    assert notes(groups) == [{"tone": id_of_adapter("tone")}]
    assert [one.adapter.name for one in groups[0].told] == ["tone"]


def test_an_adapter_that_makes_room_is_first_not_announced_then_unused_then_gone() -> None:
    (group,) = groups = [FakeGroup(0, room=1)]
    spec = Named("style"), Named("tone")
    settle(groups, "style")
    asked = AdapterLoad(waiting=1, oldest_wait=99), AdapterLoad(idle=900)

    one_pass(groups, spec, [load(0, {"style": 1}, tone=asked[0], style=asked[1])])
    assert (notes(groups), [one.adapter.name for one in group.told]) == ([{}], ["style"])

    one_pass(groups, spec, [load(0, {"style": 1}, tone=asked[0], style=asked[1])])
    assert [one.adapter.name for one in group.told] == ["style"], "a request still runs there"

    one_pass(groups, spec, [load(0, {}, tone=asked[0], style=asked[1])])
    assert [one.adapter.name for one in group.told] == ["tone"]


def test_a_new_version_answers_on_one_group_before_the_others_get_it() -> None:
    groups = [FakeGroup(0), FakeGroup(1)]
    settle(groups, "style")
    spec = (Named("style", 2),)
    one_pass(groups, spec)
    assert [group.told[0].adapter.id for group in groups] == [id_of_adapter("style", 2), id_of_adapter("style")]
    assert notes(groups) == [STYLE, STYLE], "the old one answers until the new one is verified"
    for _ in range(FakeGroup.SECONDS):
        groups[0].tick()
    one_pass(groups, spec)
    assert notes(groups) == [{"style": id_of_adapter("style", 2)}, STYLE]
    assert [group.told[0].adapter.id for group in groups] == [id_of_adapter("style", 2), id_of_adapter("style", 2)]


def test_a_version_that_the_first_group_refuses_reaches_no_other_and_ends_there() -> None:
    groups = [FakeGroup(0, bad={("style", 2)}), FakeGroup(1)]
    settle(groups, "style")
    for _ in range(6):
        one_pass(groups, (Named("style", 2),))
        for group in groups:
            group.tick()
        assert notes(groups) == [STYLE, STYLE]
        assert [one.adapter.id for one in groups[1].told] == [id_of_adapter("style")]


def test_a_group_starts_with_all_of_its_adapters() -> None:
    new = FakeGroup(0, rotates=False)
    spec = Named("style"), Named("tone"), Named("broken", refused="no such file")
    state = seen([new], spec)
    assert start_waits_for(state.groups[0], state) == (
        "group 0 has 0 of its 2 adapters and gets no request before it has all; style has not begun"
    )
    template = desired_template(state)
    assert template is not None
    step = update_in_place(
        state.groups[0], replace(template, pod_hash=state.groups[0].id.pod_hash), state, may_disrupt=True
    )
    assert step_actions(step, state).rotations == ()
    new.bad = {("tone", 1)}
    for _ in range(4):
        one_pass([new], spec)
        new.tick()
    state = seen([new], spec)
    assert start_waits_for(state.groups[0], state) == "", "ready, or refused"
    step = update_in_place(
        state.groups[0], replace(template, pod_hash=state.groups[0].id.pod_hash), state, may_disrupt=True
    )
    (change,) = step_actions(step, state).rotations
    assert change.open_


def test_a_group_that_serves_is_not_closed_for_an_adapter() -> None:
    serving = FakeGroup(0)
    for spec in ((Named("style"),), (Named("style", refused="x"),), ()):
        state = seen([serving], spec)
        template = desired_template(state)
        assert template is not None
        step = update_in_place(
            state.groups[0], replace(template, pod_hash=state.groups[0].id.pod_hash), state, may_disrupt=True
        )
        assert not any(not change.open_ for change in step_actions(step, state).rotations)


def test_gateways_are_told_all_names() -> None:
    spec = Named("style"), Named("broken", refused="its rank 128 is above 64")
    models = served_models(seen([FakeGroup(0)], spec), base="chat")
    assert models is not None
    assert models.adapters == (
        ServedAdapter(name="style", parent="chat"),
        ServedAdapter(name="broken", parent="chat", refused="its rank 128 is above 64"),
    )
    assert models.max_model_len == 2048


def test_a_file_of_another_version_of_the_operator_has_no_room() -> None:
    file = room_file(0, 4) | {"data": {"cell.json": '{"adapters": {"other": 1}}'}}
    state = seen([FakeGroup(0)], (Named("style"),))
    state = replace(state, snapshot=replace(state.snapshot, children=(file,)))
    assert group_adapters(state.groups[0], state, digest=V1) == ()


NAMES = ("a", "b", "c")
#: What the spec has in one phase: a version per name; 0: it is not there.
SPECS = st.lists(st.tuples(*[st.integers(0, 3)] * len(NAMES)), min_size=1, max_size=5)
EVENTS = st.lists(st.sampled_from(["pass", "tick", "tick", *NAMES]), min_size=8, max_size=25)


@dataclass
class Watched:
    """Groups under changes, and what must hold after each event; version 3 of ``bad`` is always refused."""

    groups: list[FakeGroup]
    bad: str
    room: int
    answered: set[str] = field(default_factory=set)

    def happen(self, event: str, spec: tuple[Named, ...]) -> None:
        before = notes(self.groups)
        if event == "tick":
            for group in self.groups:
                group.tick()
        else:
            asked = {} if event == "pass" else {event: AdapterLoad(waiting=1, oldest_wait=15)}
            one_pass(self.groups, spec, [load(0, {}, **asked)])
        named = {one.name for one in spec}
        for group, was in zip(self.groups, before, strict=True):
            self._check(group, was.keys() & named)
        if len(named) <= self.room:
            lost = named & self.answered - {name for said in notes(self.groups) for name in said}
            assert not lost, f"{lost} were served and are not any more"
        self.answered = {name for said in notes(self.groups) for name in said}

    def _check(self, group: FakeGroup, was: Set[str]) -> None:
        (said,) = notes([group])
        assert was & said.keys() <= {one.adapter.name for one in group.told}, "told to go while it is announced"
        assert id_of_adapter(self.bad, 3) not in said.values(), "what was refused is announced"
        # Between two passes an engine may have got the new version, and refuses the old id: nothing else answers.
        assert said.keys() <= group.serves.keys(), "announced where nothing answers"


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_at_every_moment_names_keep_answering_with_what_was_announced(data: st.DataObject) -> None:
    """Specs follow each other while passes and engines go on in any order."""
    room, bad = data.draw(st.integers(1, 4)), data.draw(st.sampled_from(NAMES))
    number = data.draw(st.integers(1, 3))
    watched = Watched([FakeGroup(k, room=room, bad={(bad, 3)}) for k in range(number)], bad, room)
    for versions in data.draw(SPECS):
        now = {name: version for name, version in zip(NAMES, versions, strict=True) if version}
        spec = tuple(Named(name, version) for name, version in now.items())
        for event in data.draw(EVENTS):
            watched.happen(event, spec)
