"""Every sentence by which the operator says why something waits, changes or failed: to reword one, edit it here.

A sentence is a clause: lower case unless it begins with a name, with numbers and names, without a full stop. What
others said (scheduler, kubelet, cell, API server) comes in as a clause and stands at the end. ``group`` is an ordinal,
weights are given by their id, ``pods`` of a template by its hash. The words: ``llama_serving.config.reason_catalogue``.
"""

from llama_serving.config.wording import plural

# -- a pod and its containers -----------------------------------------------------------------------------------------


def group_incomplete(group: int, *, pods: int, stages: int) -> str:
    return f"group {group} has {pods} of its {stages} pods"


def pod_gated(pod: str) -> str:
    return f"pod {pod} is placed together with its group"


def pod_starting(pod: str, *, node: str, waited: str) -> str:
    what = f"gets its containers on node {node}" if node else "has no node yet"
    return f"pod {pod} {what}, {waited} so far"


def pod_unscheduled(pod: str, shortage: str) -> str:
    return f"pod {pod} {shortage}"


def image_unavailable(pod: str, *, node: str, word: str, said: str) -> str:
    return f"pod {pod} on node {node} has no image: {word}: {said}"


def container_failing(pod: str, *, node: str, word: str, said: str, history: str) -> str:
    return f"pod {pod} on node {node}: {word}{said and f': {said}'}{history}"


def container_history(*, restarts: int, exit_code: int, last_words: str) -> str:
    said = f": {last_words}" if last_words else ""
    return f", {plural(restarts, 'restart')}, it last ended with code {exit_code}{said}"


def supervisor_silent(pod: str, *, node: str, age: str, error: str, history: str) -> str:
    why = f" ({error})" if error else ""
    return f"pod {pod} on node {node} does not answer, {age} after it was made{why}{history}"


def stage_says(group: int, *, stage: int, node: str, said: str, restarts: int) -> str:
    again = f", {plural(restarts, 'restart')}" if restarts else ""
    return f"group {group} stage {stage} on {node}: {said}{again}"


# -- groups that come and go ------------------------------------------------------------------------------------------


def group_rebuilt(group: int, *, lost: str, pods: int, stages: int) -> str:
    return f"group {group} is rebuilt: {lost}; {pods} of its {stages} pods are still to go"


def pods_vanished(number: int) -> str:
    return f"{plural(number, 'pod')} vanished"


def pod_ended(pod: str, *, word: str, said: str) -> str:
    return f"pod {pod} ended: {word} {said}".rstrip()


def pod_deleted(pod: str) -> str:
    return f"pod {pod} is being deleted"


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


def gateways_not_ready(*, asked: int, why: str) -> str:
    if not asked:
        return "the gateway's Deployment is not there yet"
    return f"0 of {plural(asked, 'gateway')} are ready, so no request is answered{why and f'; {why}'}"


# -- placement --------------------------------------------------------------------------------------------------------


def group_waits_behind(group: int, *, ahead: int) -> str:
    return f"group {group} is made when group {ahead}, which waits for room, has found it"


def groups_behind(groups: tuple[int, ...]) -> str:
    names = ", ".join(str(group) for group in groups)
    return f"group {names} comes after it" if len(groups) == 1 else f"groups {names} come after it"


def half_placed(*, stuck: int, pods: int, seconds: int, said: str) -> str:
    return f"{stuck} of its {pods} pods found no node within {seconds} s, the scheduler says: {said}"


def group_requeued(group: int, *, why: str) -> str:
    return f"group {group} is requeued: {why}"


def group_waits_for_retry(group: int, *, times: int, at: str) -> str:
    return f"group {group} was requeued {plural(times, 'time')} (only some of its pods fit); next try {at} UTC"


def capacity_unknown(error: str) -> str:
    return f"the free capacity of the nodes is not known, so no group is started: {error}"


def claims_kept(sizes: dict[str, int], *, groups: int) -> str:
    claims = " and ".join(f"{plural(number, 'claim')} of {size}" for size, number in sorted(sizes.items()))
    return f"{claims} kept for {plural(groups, 'group')}"


# -- weights of a group -----------------------------------------------------------------------------------------------


def staging_asked(group: int, weights: str) -> str:
    return f"group {group}: staging {weights}"


def staging(group: int, weights: str, *, percent: int, total: int, waits: str) -> str:
    done = f", {percent}% of {total} bytes" if total else ""
    return f"group {group} stages {weights}{done}{waits and f'; {waits}'}"


def staging_refused(group: int, weights: str, *, stage: int, said: str) -> str:
    return f"group {group} stage {stage} cannot stage {weights}: {said}"


def swap_awaits_turn(group: int, weights: str, *, serves: str) -> str:
    return f"group {group} has {weights} staged and waits for its turn on {serves or 'what it has'}"


def swap_out_of_rotation(group: int, weights: str) -> str:
    return f"group {group}: taken out of rotation to load {weights}"


def swap_drains(group: int, weights: str, *, held: str) -> str:
    return f"group {group} is out of rotation to load {weights} and ends its requests: {held}"


def swap_begins(group: int, weights: str, *, before: str) -> str:
    return f"group {group} loads {weights} in place of {before or 'what it had'}"


def swap_running(group: int, weights: str) -> str:
    return f"group {group}: swapping its weights to {weights}"


def swap_failed(group: int, weights: str, *, said: str) -> str:
    return f"group {group} could not load {weights}: {said}"


def engine_silent(weights: str) -> str:
    return f"it does not answer, and loads {weights}"


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


def start_timed_out(group: int, *, minutes: int) -> str:
    return f"group {group} did not start within {minutes} min (spec.startTimeoutSeconds and 30 min)"


# -- a rollout --------------------------------------------------------------------------------------------------------


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


# -- weights before there is a group ----------------------------------------------------------------------------------


def weights_checked_first(*, source: str, revision: str) -> str:
    return f"checking the weights of {source} at {revision}; no device is requested until they pass"


def weights_object_checked_first(name: str) -> str:
    return f"checking LlamaWeights {name}; no device is requested until it passes"


# -- the whole deployment ---------------------------------------------------------------------------------------------


def serving(*, groups: int, nodes: int) -> str:
    return f"{plural(groups, 'group serves', 'groups serve')} from {plural(nodes, 'node')}"


def scaled_to_zero(*, by_load: bool) -> str:
    if by_load:
        return "no group is wanted: the gateways hold requests, and the first of them starts one"
    return "spec.replicas is 0, so no group is wanted: the gateways hold requests until one serves or they time out"


def scaled(*, before: int, after: int, why: str) -> str:
    return f"{before} to {plural(after, 'group')}: {why}"


def autoscaling_begins(*, groups: int, there: int, replicas: int) -> str:
    return f"autoscaling begins with {plural(groups, 'group')}: {there} are there, and spec.replicas is {replicas}"


# -- writes -----------------------------------------------------------------------------------------------------------


def write_refused(what: str, *, said: str) -> str:
    return f"{what} was refused: {said}"


def write_retried(what: str, *, said: str) -> str:
    return f"{what} will be tried again: {said}"


def desired_state_not_taken(pod: str, *, why: str) -> str:
    return f"pod {pod} did not take its desired state: {why}"


def object_of_another(kind: str, name: str) -> str:
    return (
        f"{kind} {name} has our labels but another owner, such as an earlier LlamaDeployment of this name: "
        "it is made when the garbage collector, or somebody, has deleted that one"
    )
