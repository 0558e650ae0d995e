"""Sentences about capacity: what a pod or a group needs, what the nodes have, and which group is next."""

from llama_serving.config.wording import plural


def group_waits_behind(group: int, *, ahead: int) -> str:
    return f"group {group} is made when group {ahead}, which waits for room, has found it"


def groups_behind(groups: tuple[int, ...]) -> str:
    if not groups:
        return ""
    names = ", ".join(str(group) for group in groups)
    return f"; group {names} comes after it" if len(groups) == 1 else f"; groups {names} come after it"


def half_placed(*, stuck: int, pods: int, seconds: int, said: str) -> str:
    return f"{stuck} of its {pods} pods found no node within {seconds} s, the scheduler says: {said}"


def group_requeued(group: int, *, why: str) -> str:
    return f"group {group} is requeued: {why}"


def group_waits_for_retry(group: int, *, times: int, at: str) -> str:
    return f"group {group} was requeued {plural(times, 'time')} (only some of its pods fit); next try {at} UTC"


def group_never_placed(group: str, *, times: int) -> str:
    return (
        f"group {group} was to fit, and was requeued {plural(times, 'time')} since the scheduler placed only some of"
        " its pods"
    )


def capacity_unknown(error: str) -> str:
    return f"the free capacity of the nodes is not known, so no group is started: {error}"


def claims_kept(sizes: dict[str, int], *, groups: int) -> str:
    claims = " and ".join(f"{plural(number, 'claim')} of {size}" for size, number in sorted(sizes.items()))
    return f"{claims} kept for {plural(groups, 'group')}"


def needs(amounts: str) -> str:
    return f"needs {amounts or 'a node'}"


def pod_shortage(needs_: str, *, nearest: str, said: str) -> str:
    return f"{needs_}{nearest}; scheduler: {said}"


def group_needs(*, pods: int, amounts: str) -> str:
    return f"needs {pods} x {amounts}"


def amount_free(*, pods: int, amount: str, resource: str, free: str) -> str:
    return f"needs {pods} x {amount} {resource}, {free} are free"


def no_usable_node(needs_: str, *, kept_away: str) -> str:
    return f"{needs_}, and no node may run it: {kept_away}"


def never_fits(needs_: str) -> str:
    return f"{needs_}; the nodes would not hold it even if they were empty"


def kept_away(*, nodes: int, why: dict[str, int]) -> str:
    counts = ", ".join(f"{number} {reason}" for reason, number in sorted(why.items()))
    return f"of {plural(nodes, 'node')} {counts}" if nodes else "there are no nodes"


def not_ready() -> str:
    return "not ready"


def cordoned() -> str:
    return "cordoned"


def selector_differs(labels: str) -> str:
    return f"without what the node affinity/selector asks for ({labels})"


def affinity_differs(terms: str) -> str:
    return f"without what placement.nodeAffinity asks for ({terms})"


def claim_devices_unknown(template: str) -> str:
    return f"the devices of ResourceClaimTemplate {template} cannot be counted (device.claimTemplate)"


def taint_not_tolerated(taint: str) -> str:
    return f"with the taint {taint}, which it does not tolerate"


def another_rule(node: str) -> str:
    return f" (node {node} has enough free, so another rule keeps it away)"


def closest_node(node: str, *, nodes: int, lacking: list[str]) -> str:
    return f"; of {plural(nodes, 'node')} {node} comes closest: {', '.join(lacking)}"


def amount_short(resource: str, *, free: str, total: str, short: str) -> str:
    return f"{free} {resource} free of {total}, {short} short"


def in_use_by(node: str, *, amount: str, pods: list[str], more: int) -> str:
    rest = f" and {more} more" if more else ""
    return f"{node} has {amount} in use by {', '.join(pods)}{rest}"


def one_stage_a_node(*, stages: int, placed: int) -> str:
    return f"; its {stages} stages go to different nodes (placement.spreadStages), {placed} of them fit"


def nodes_unknown() -> str:
    return "the capacity of the nodes is not known"


def heads_not_split(*, tensor: int, heads: int, use: str) -> str:
    return (
        f"spec.sharding.tensor is {tensor}, but the model's {heads} attention heads cannot be split evenly over"
        f" {tensor} devices; use one of {use}"
    )


def kv_heads_not_split(*, tensor: int, heads: int) -> str:
    return (
        f"spec.sharding.tensor is {tensor}, but the model's {heads} KV heads can be neither split nor repeated evenly"
        f" over {tensor} devices; use a divisor or a multiple of {heads}"
    )


def too_few_layers(*, pipeline: int, layers: int) -> str:
    return (
        f"spec.sharding.pipeline is {pipeline}, but the model has {layers} layers and each stage needs at least one;"
        f" use at most {layers}"
    )


def context_too_long(*, asked: int, allowed: int) -> str:
    return f"spec.contextLength is {asked}, but the model's config allows {allowed} tokens; use at most {allowed}"


def quantization_needs_gpu(*, method: str) -> str:
    return (
        f"spec.device.resource is cpu, but the model is quantized with {method}, for which a CPU has no kernels;"
        " use a GPU, or the model's weights in bfloat16"
    )


def quantization_contradicts(*, asked: str, method: str) -> str:
    found = f"is quantized with {method}" if method else "is not quantized"
    return f"spec.engine.quantization is {asked}, but the model {found}; leave the field out"


def kv_cache_too_small(*, asked: str, context: int, needed: str) -> str:
    return (
        f"spec.engine.kvCacheMemory is {asked}, but one request of spec.contextLength {context} needs {needed} of KV"
        " cache on a device of the largest stage; use at least that, or a shorter context"
    )


def weights_do_not_fit(field: str, *, asked: str, stages: int, needed: str) -> str:
    return (
        f"spec.{field} is {asked}, but with {plural(stages, 'stage')} at least {needed} of the model's weights come to"
        " one of them; use more, or more stages"
    )
