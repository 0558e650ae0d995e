"""Sentences about weights: resolved at their source, staged in the pods, loaded in place of others."""

from llama_serving.config.wording import plural


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


def weights_checked_first(*, source: str, revision: str) -> str:
    return f"checking the weights of {source} at {revision}; no device is requested until they pass"


def weights_object_checked_first(name: str) -> str:
    return f"checking LlamaWeights {name}; no device is requested until it passes"


def not_resolved() -> str:
    return "not resolved yet"


def secret_without_label(secret: str, *, label: str) -> str:
    return (
        f"Secret {secret} may not be sent to a source: it has no label {label}; who may change it runs "
        f"kubectl label secret {secret} {label}=enabled"
    )


def secret_not_for_host(secret: str, *, host: str, allowed: str, annotation: str) -> str:
    return (
        f"Secret {secret} may not be sent to {host}: its annotation {annotation} allows {allowed[:200] or 'no place'}"
    )


def secret_is_ours(secret: str) -> str:
    return f"Secret {secret} may not be sent to a source: the operator made it for its own use; name another one"


def secret_not_looked_up(secret: str, *, said: str) -> str:
    return f"whether Secret {secret} may be sent to the source is not known: {said}"


def job_starts(source: str) -> str:
    return f"a Job is started to resolve {source}"


def job_deleted(job: str) -> str:
    return f"Job {job} is being deleted, then the source is resolved again"


def job_without_pod(job: str, *, waited: str, long: bool) -> str:
    more = f"; `kubectl describe job {job}` says why" if long else ""
    return f"Job {job} has no pod yet, {waited} so far{more}"


def resolving(pod: str, *, node: str, waited: str) -> str:
    return f"pod {pod} on node {node} resolves the weights, {waited} so far"


def manifest_awaited(files: int) -> str:
    return f"the manifest of {plural(files, 'file')} is on its way"


def manifest_not_stored(job: str, *, digest: str, problem: str = "") -> str:
    why = f": {problem}" if problem else ""
    return f"Job {job} accepted the weights but stored no manifest with their digest {digest}{why}"


def manifest_unreadable(problem: str) -> str:
    return f"{problem}, so the source is resolved again"


def no_report(*, pod: str, job: str, exit_code: int | None, word: str, said: str) -> str:
    who = f"pod {pod}" if pod else f"the pod of Job {job}"
    code = "no code" if exit_code is None else f"code {exit_code} ({word})"
    return f"{who} ended with {code} and without a report: {said or 'it is gone'}"


def report_over_limit(*, pod: str, why: str) -> str:
    return f"the report of pod {pod} {why}"


def report_without_facts() -> str:
    return "the report has no facts"


def revision_moved(*, revision: str, source: str, before: str, now: str) -> str:
    return (
        f"revision {revision} of {source} had the digest {before} and now has {now}: a revision must not move; name the"
        " new one"
    )


def model_accepted(*, architecture: str, layers: int, files: int, size: int) -> str:
    return f"{architecture} of {plural(layers, 'layer')}, {plural(files, 'file')}, {size} bytes"
