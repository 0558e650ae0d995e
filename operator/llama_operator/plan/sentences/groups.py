"""Sentences about a group and its pods: why it is not complete, does not start, drains, is replaced or verified."""

import json
from collections.abc import Sequence

from llama_serving.config.wording import plural


def group_incomplete(group: int, *, pods: int, stages: int) -> str:
    return f"group {group} has {pods} of its {stages} pods"


def pod_gated(pod: str) -> str:
    return f"pod {pod} is placed together with its group"


def scheduler_silent(pod: str, *, scheduler: str, waited: str) -> str:
    return (
        f"pod {pod} waits for scheduler {scheduler} (placement.schedulerName), which has said nothing of it, {waited}"
        " so far; see that it runs, or correct the field"
    )


def pod_starting(pod: str, *, node: str, waited: str) -> str:
    what = f"gets its containers on node {node}" if node else "has no node yet"
    return f"pod {pod} {what}, {waited} so far"


def pod_unscheduled(pod: str, shortage: str) -> str:
    return f"pod {pod} {shortage}"


def container_failing(pod: str, *, node: str, word: str, said: str, history: str) -> str:
    return f"pod {pod} on node {node}: {word}{said and f': {said}'}{history}"


def container_history(*, restarts: int, exit_code: int, memory: str, last_words: str) -> str:
    why = f" since it used more memory than {memory}" if memory else ""
    said = f": {last_words}" if last_words else ""
    return f", {plural(restarts, 'restart')}, it last ended with code {exit_code}{why}{said}"


def supervisor_silent(pod: str, *, node: str, age: str, error: str, history: str) -> str:
    why = f" ({error})" if error else ""
    return f"pod {pod} on node {node} does not answer, {age} after it was made{why}{history}"


def stage_says(group: int, *, stage: int, node: str, said: str, restarts: int) -> str:
    again = f", {plural(restarts, 'restart')}" if restarts else ""
    return f"group {group} stage {stage} on {node}: {said}{again}"


def fabric_unused(group: int, *, nodes: int, stages: list[int], devices: list[str]) -> str:
    which = f"{'stage' if len(stages) == 1 else 'stages'} {', '.join(map(str, stages))}"
    return (
        f"group {group} sends between its {nodes} nodes by TCP (NCCL took NET/Socket on {which}), although its pods"
        f" have {', '.join(devices)}"
    )


def cache_unused(group: int, *, stage: int, fault: str) -> str:
    return f"group {group} stage {stage}: {fault} (engine.cache)"


def group_rebuilt(group: int, *, lost: str, pods: int, stages: int) -> str:
    return f"group {group} is rebuilt: {lost}; {pods} of its {stages} pods are still to go"


def pods_vanished(number: int) -> str:
    return f"{plural(number, 'pod')} vanished"


def pod_ended(pod: str, *, word: str, said: str) -> str:
    return f"pod {pod} ended: {word} {said}".rstrip()


def pod_deleted(pod: str, *, why: str = "") -> str:
    return f"pod {pod} is being deleted{why and f': {why}'}"


def pod_surplus(pod: str) -> str:
    return f"pod {pod} is a stage too many"


def group_surplus(group: int, *, wanted: int, by_load: bool) -> str:
    asks = "the load" if by_load else "spec.replicas"
    return f"group {group} is above the {wanted} that {asks} asks for"


def group_scales_down(surplus: str, *, held: str) -> str:
    return f"{surplus}: it drains{held and f', {held}'}"


def leader_leaves_rotation() -> str:
    return "its leader leaves the rotation"


def gateway_silent(gateway: str) -> str:
    return f"gateway {gateway} does not respond"


def gateway_has_requests(gateway: str, *, in_flight: int) -> str:
    return f"gateway {gateway} has {plural(in_flight, 'request')} in flight"


def gateway_still_routes(gateway: str) -> str:
    return f"gateway {gateway} still routes to it"


def template_replaced(*, pods: str, by: str) -> str:
    return f"pods {pods} are replaced by {by}"


def group_drains(group: int, *, why: str) -> str:
    return f"group {group} drains: {why}"


def surge_is_full(group: int, *, pods: str, groups: int, surge: int, replicas: int) -> str:
    return (
        f"group {group} keeps pods {pods}: {plural(groups, 'group')} are there, and while they are replaced no more"
        f" than {surge} are allowed beside {replicas}"
    )


def others_do_not_serve(group: int, *, pods: str, others: int) -> str:
    return f"group {group} keeps pods {pods} until {plural(others, 'other group serves', 'other groups serve')}"


def engine_restarted() -> str:
    return "the engine has started again, and is verified before it gets requests"


def verification_runs(group: int, weights: str, *, prompts: int | None) -> str:
    what = "its golden prompts" if prompts is None else f"the {plural(prompts, 'golden prompt')} of spec.verify"
    return f"group {group}: running {what} on {weights}"


def verification_passed(group: int, weights: str, *, measured: str) -> str:
    return f"group {group} on {weights}: {measured}"


def back_in_rotation(passed: str) -> str:
    return f"{passed}; it comes into rotation"


def verification_failed(group: int, weights: str, *, why: str) -> str:
    return f"group {group} does not pass on {weights}: {why}"


def answer_differs(*, answer: str, expected: str, groups: int) -> str:
    others = plural(groups, "other group")
    return f"its greedy answer {answer} differs from the {expected} of {others} on the same weights"


def start_failed(group: int, *, stage: int, restarts: int, said: str) -> str:
    again = f", {plural(restarts, 'restart')}" if restarts else ""
    return f"group {group} stage {stage} does not start{again}: {said}"


def stood_still(ordinal: int, *, seconds: int, why: str) -> str:
    return f"group {ordinal} did not start, and nothing has moved for {seconds} s: {why}"


def start_timed_out(group: int, *, minutes: int) -> str:
    return f"group {group} did not start within {minutes} min (spec.startTimeoutSeconds and 30 min)"


def node_silent(why: str, *, node: str) -> str:
    return f"{why}; nobody answers on node {node}"


def group_leaves() -> str:
    return "the group leaves"


def engine_answers() -> str:
    return "the engine answers"


def not_measured(error: str) -> str:
    return f"it could not be measured: {error}"


def other_weights_loaded(*, stages: str, digest: str) -> str:
    return f"stage {stages} loaded other weights than {digest}"


def golden_failed(*, failed: int, prompts: int, prompt: str, answer: str) -> str:
    return f"{failed} of {prompts} golden prompts failed; {prompt!r} was answered {answer!r}"


def quality_dropped(*, mean: float, drop: float, base: float, digest: str, limit: float) -> str:
    return (
        f"its mean log-probability is {mean:.2f} nats per token, {drop:.2f} below the {base:.2f} of {digest};"
        f" spec.verify.maxLogprobDrop allows {limit:g}"
    )


def golden_problem(*, prompt: str, problem: str) -> str:
    return f"golden prompt {json.dumps(prompt, ensure_ascii=False)} {problem}"


def golden_also_failed(*, failed: int, prompts: int) -> str:
    return f"; {failed} of {prompts} golden prompts failed" if failed > 1 else ""


def text_dropped(
    *, name: str, drop: float, before: float, digest: str, limit: float, others: Sequence[tuple[str, float]]
) -> str:
    more = ", ".join(f"{other} by {fall:.2f}" for other, fall in others)
    return (
        f"{name} fell by {drop:.2f} nats per token, from {before:.2f} of {digest} to {before - drop:.2f};"
        f" {limit:g} are allowed (spec.verify.maxLogprobDrop)" + (f"; {more} too" if more else "")
    )


def other_texts(digest: str) -> str:
    return f"; not compared with {digest}, which was measured with other quality texts"


def image_knows_no_tools() -> str:
    return "its serving image is older than tools and schema in spec.verify.goldenPrompts"


def measured(*, passed: int, prompts: int, mean: float | None, answer: str) -> str:
    parts = [f"{passed} of {prompts} golden prompts passed"] if prompts else []
    if mean is not None:
        parts.append(f"mean log-probability {mean:.2f} nats per token")
    if answer:
        parts.append(f"answer {answer}")
    return ", ".join(parts) or engine_answers()
