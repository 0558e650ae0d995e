"""Sentences about a rollout: which strategy it takes and why, its steps, where it stands, why it was given up."""

from llama_serving.config.wording import plural


def rollout_begins(*, to: str, before: str) -> str:
    return f"{to} in place of {before}"


def rollout_superseded() -> str:
    return "the spec asks for something else"


def rollout_paused(weights: str, *, step: str) -> str:
    return f"spec.rollout.paused holds the rollout of {weights}: {step} groups have it"


def rollout_awaits_group(to: str) -> str:
    return f"no group is wanted now: the next one is made as {to}, and the rollout ends when it serves"


def canary_watched(weights: str, *, groups: int, seconds: int) -> str:
    who = plural(groups, f"group serves {weights} and is", f"groups serve {weights} and are")
    return f"{who} watched for {seconds} s"


def canary_failed(weights: str, *, why: str) -> str:
    return f"the canary of {weights} failed: {why}"


def partition_keeps(weights: str, *, partition: int, step: str) -> str:
    return f"spec.rollout.partition {partition} keeps the groups below it: {step} have {weights}"


def rollout_progress(*, step: str, to: str, before: str) -> str:
    return f"{step} groups have {to}, before it was {before}"


def rollout_done(to: str, *, groups: int) -> str:
    return f"{plural(groups, 'group serves', 'groups serve')} {to}"


def rollout_given_up(*, to: str, why: str, good: str, held: bool) -> str:
    if held:
        return f"{to} was given up: {why}; the groups serve {good}; the rollout is held until the spec changes"
    return f"{to} was given up: {why}; the groups go back to {good}"


def first_start_failed(why: str) -> str:
    return f"the first start failed: {why}; it is tried again at growing pauses, and at once when the spec changes"


def nothing_to_drain() -> str:
    return "there is no group that would have to be drained"


def only_weights_change() -> str:
    return "only the weights change, so they are loaded in the running pods"


def strategy_asked(strategy: str) -> str:
    return f"spec.rollout.strategy is {strategy}"


def in_place_needs_new_pods() -> str:
    return (
        "spec.rollout.strategy is inPlace, but more than the weights changes (image, layout, resources or the model's"
        " shape), which needs new pods; use auto, surge or drain"
    )


def in_place_needs_new_engine(method: str) -> str:
    return (
        f"spec.rollout.strategy is inPlace, but weights quantized by {method} are not swapped in a running engine,"
        " which starts anew with them; use auto, surge or drain"
    )


def weights_need_new_engine(method: str) -> str:
    return f"only the weights change, but those quantized by {method} are not swapped in a running engine"


def in_place_needs_unavailable() -> str:
    return (
        "spec.rollout.strategy is inPlace and spec.rollout.maxUnavailable is 0, but a group is out of rotation while it"
        " loads its weights; use maxUnavailable 1, or strategy surge"
    )


def surge_needs_max_surge() -> str:
    return "spec.rollout.strategy is surge, but spec.rollout.maxSurge is 0; use at least 1, or strategy drain"


def drain_needs_unavailable() -> str:
    return "spec.rollout.strategy is drain, but spec.rollout.maxUnavailable is 0; use at least 1, or strategy surge"


def no_surge_allowed() -> str:
    return "spec.rollout.maxSurge is 0"


def surge_fits() -> str:
    return "the pods change, and the free devices hold one more group"


def one_more_group() -> str:
    return "one more group"


def neither_surge_nor_drain(no_surge: str) -> str:
    return f"{no_surge}, and spec.rollout.maxUnavailable is 0"


def nothing_serves(no_surge: str) -> str:
    return f"{no_surge}, and no group serves that would be missed"


def drain_is_an_outage(no_surge: str, *, seconds: float | None) -> str:
    span = f"about {seconds:.0f} s, as long as the last start took" if seconds else "the time of a start"
    return (
        f"{no_surge}, and the only group that serves would be gone for {span}; free the devices of one group, or accept"
        " the outage with spec.rollout.strategy drain"
    )


def rollout_held(*, to: str, why: str, good: str) -> str:
    return f"{to} is held before its first step: {why}; the groups serve {good}"


def drain_holds_load(no_surge: str, *, groups: int, slots: int, load: int) -> str:
    return f"{no_surge}; the {plural(groups, 'group that stays', 'groups that stay')} {_slots(slots, load=load)}"


def drain_lacks_slots(no_surge: str, *, groups: int, slots: int, load: int) -> str:
    return (
        f"{no_surge}, and the {plural(groups, 'group')} that would stay {_slots(slots, load=load)};"
        " free the devices of one group, or accept that requests wait with spec.rollout.strategy drain"
    )


def surge_ends_early(*, surge: int) -> str:
    return (
        f"with {plural(surge, 'group')} beside those that are there (spec.rollout.maxSurge) the first new group would"
        " find room, and a later one not before a group that serves has left"
    )


def surge_needs_drain(why: str) -> str:
    return f"spec.rollout.strategy is surge, but {why}; use auto or drain"


def no_order_of_steps(*, needed: int, allowed: int, replicas: int) -> str:
    return (
        f"new groups find room only while {needed} of {plural(replicas, 'group')} do not serve, and"
        f" spec.rollout.maxUnavailable is {allowed}: set it to {needed}, or free devices"
    )


def fewer_find_room(*, placed: int, groups: int, serving: int) -> str:
    return (
        f"of {plural(groups, 'group')} {placed} would find room when all others have left, and {serving} serve now;"
        " use fewer devices for a group, or free devices"
    )


def rollout_stuck(*, step: str, to: str, why: str) -> str:
    return f"{step} groups have {to}; {why}"


def _slots(slots: int, *, load: int) -> str:
    present = plural(load, "request is", "requests are")
    return f"can run {plural(slots, 'request')} at a time, and {present} there now"


def step_stage(weights: str) -> str:
    return f"stage {weights} beside what serves, and verify it"


def step_canary(*, groups: int, seconds: int) -> str:
    return f"change {plural(groups, 'group')} first and watch {'it' if groups == 1 else 'them'} for {seconds} s"


def step_in_place(which: str, *, at_once: int) -> str:
    return f"{which}, {at_once} at a time: out of rotation, requests end, load the weights, verify, back"


def step_surge(which: str, *, at_once: int) -> str:
    return f"{which}, up to {at_once} at a time: start a new group, verify it, then drain the old one"


def step_drain(which: str, *, at_once: int) -> str:
    return f"{which}, {at_once} at a time: drain the old group, start the new one, verify it"


def step_only_group() -> str:
    return "there is one group only: its requests wait in the gateway meanwhile"


def step_failure(before: str) -> str:
    return f"a failure puts all groups back on {before}"


def some_groups(ordinals: list[int]) -> str:
    if not ordinals:
        return "the next groups"
    if len(ordinals) == 1:
        return f"group {ordinals[0]}"
    if ordinals[-1] - ordinals[0] == len(ordinals) - 1:
        return f"groups {ordinals[0]} to {ordinals[-1]}"
    return f"groups {', '.join(str(ordinal) for ordinal in ordinals)}"


def template_label(weights: str, *, pods: str) -> str:
    return f"{weights} in pods {pods}"


def unmade_template(revision: str) -> str:
    return f"{revision} in pods of the changed spec"


def begins_with_steps(*, to: str, before: str, steps: str) -> str:
    return f"{rollout_begins(to=to, before=before)}: {steps}"


def phase_reached(*, to: str, phase: str, why: str) -> str:
    return f"rollout of {to}: {phase}, {why}"


def too_many_errors(weights: str, *, failed: int, answers: int, limit: float) -> str:
    return (
        f"{failed} of {answers} requests failed on {weights}, {failed / answers:.1%};"
        f" spec.rollout.canary.maxErrorRate allows {limit:.1%}"
    )


def first_byte_late(*, new: str, old: str, seconds: float, usual: float, limit: float) -> str:
    return (
        f"the first byte (99th percentile) took up to {seconds:g} s on {new} and {usual:g} s on {old},"
        f" {seconds / usual:.1f} times as long; spec.rollout.canary.maxFirstByteRatio allows {limit:g}"
    )
