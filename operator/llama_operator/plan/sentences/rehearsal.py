"""Sentences about the rehearsal of a rollout: what is tried, what stands against it, what is left."""

from llama_serving.config.wording import plural


def rehearsal_runs(to: str, *, what: str) -> str:
    return f"rehearsal of {to}, nothing that serves is touched: {what}"


def admission_asked() -> str:
    return "asks the API server whether it would take the new group's objects"


def admission_not_answered(why: str) -> str:
    return f"the API server could not be asked whether it would take the new group's objects: {why}"


def admission_refused(first: str, *, more: int) -> str:
    return f"{first}; {plural(more, 'further object', 'further objects')} refused" if more else first


def quota_too_small(quota: str, *, resource: str, groups: int, new: str, back: str, used: str, hard: str) -> str:
    asks = f"{plural(groups, 'new group asks', 'new groups ask')} for {resource}={new}"
    given = f" and {back} comes back from groups that leave before" if back != "0" else ""
    return (
        f"the ResourceQuota {quota} allows no more: {asks}{given}, {used} of {hard} are used; raise it, ask"
        " for less, or free what is used"
    )


def references_missing(texts: tuple[str, ...]) -> str:
    return "; ".join(texts)


def pods_made(*, pods: int) -> str:
    return f"{plural(pods, 'pod of the new image is', 'pods of the new image are')} made"


def pod_runs(name: str, *, node: str, waited: str) -> str:
    return f"pod {name} on node {node} tries image and configuration, {waited} so far"


def pod_ended(name: str, *, node: str, code: int, said: str) -> str:
    words = f": {said}" if said else ""
    return f"pod {name} of the rehearsal ended on node {node or 'unknown'} with exit code {code}{words}"


def pod_vanished(name: str, *, node: str, said: str) -> str:
    words = f": {said}" if said else ""
    return f"pod {name} of the rehearsal was ended on node {node or 'unknown'} from outside{words}"


def rehearsal_passed(*, pods: int, seconds: int) -> str:
    return (
        f"the API server takes the objects, and the image runs and takes the configuration, tried in"
        f" {plural(pods, 'pod')} within {seconds} s"
    )


def retried(why: str, *, at: str) -> str:
    return f"{why}; tried again at {at}"
