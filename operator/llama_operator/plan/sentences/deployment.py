"""Sentences about the whole deployment: it serves, scales, is without a gateway, or a write did not succeed."""

from llama_serving.config.wording import plural


def gateways_not_ready(*, asked: int, why: str) -> str:
    if not asked:
        return "the gateway's Deployment is not there yet"
    return f"0 of {plural(asked, 'gateway')} are ready, so no request is answered{why and f'; {why}'}"


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


def write_refused(what: str, *, said: str) -> str:
    return f"{what} was refused: {said}"


def write_retried(what: str, *, said: str) -> str:
    return f"{what} will be tried again: {said}"


def desired_state_not_taken(pod: str, *, why: str) -> str:
    return f"pod {pod} did not take its desired state: {why}"


def object_left_out(kind: str, name: str, *, why: str) -> str:
    return f"{kind} {name} is not read, so it is left as it is: {why}; delete what is not needed there"


def object_of_another(kind: str, name: str) -> str:
    return (
        f"{kind} {name} has our labels but another owner, such as an earlier LlamaDeployment of this name: "
        "it is made when the garbage collector, or somebody, has deleted that one"
    )


def applying(count: int) -> str:
    return f"{plural(count, 'object was', 'objects were')} not as the spec wants and had to be written"


def gateways_starting(*, ready: int, asked: int, why: str) -> str:
    return f"{ready} of {plural(asked, 'gateway')} run as the spec asks and are ready{why and f'; {why}'}"


def serving_of(*, serving_: int, wanted: int, ready: int, gateways: int) -> str:
    return f"{serving_} of {wanted} groups serve, {ready} of {gateways} gateways are ready"


def group_event(group: int, *, state: str, why: str) -> str:
    return f"group {group} is {state}: {why}"


def time_zone_unknown(zone: str, *, schedule: str) -> str:
    return (
        f"spec.autoscaling.schedules: the time zone {zone} of {schedule} is not known, so this schedule does not hold;"
        " use a name of the IANA time zone database, such as Europe/Berlin"
    )


def another_stage_answers(*, stage: int, group: int, deployment: str) -> str:
    return f"at its address answers stage {stage} of group {group} of {deployment}"


def policies_not_tried() -> str:
    return "no group serves, so no connection that a NetworkPolicy forbids was tried"


def policies_tried(pod: str, *, port: int, accepted: bool) -> str:
    if accepted:
        return (
            f"{pod} accepted a connection of the operator to port {port}, which its NetworkPolicy forbids: this "
            "cluster's network does not enforce NetworkPolicies between them"
        )
    return f"{pod} did not accept a connection of the operator to port {port}, which its NetworkPolicy forbids"
