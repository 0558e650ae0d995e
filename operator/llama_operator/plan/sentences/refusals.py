"""Sentences about what the API server refuses, in words that follow the object; ``said`` is what others said."""


def quota_exceeded(quota: str, *, asked: str, left: str) -> str:
    return f"the ResourceQuota {quota} allows no more: requested {asked}, {left}; raise it, or free what is used"


def quota_needs(quota: str, *, fields: str) -> str:
    return f"the ResourceQuota {quota} asks for {fields} on every container, such as from a LimitRange with defaults"


def limit_range(said: str) -> str:
    return f"a LimitRange of the namespace forbids it: {said}"


def pod_security(level: str, *, said: str, ipc_lock: bool = False) -> str:
    lock = "; device.ipcLock asks for IPC_LOCK, which only the level privileged allows: set it to false, or the level"
    return f"Pod Security {level} of the namespace forbids it: {said}{lock if ipc_lock else ''}"


def webhook_denies(webhook: str, *, said: str) -> str:
    return f"the admission webhook {webhook} denies it{said and f': {said}'}"


def webhook_silent(webhook: str) -> str:
    return f"the admission webhook {webhook} could not be asked; see that it runs"


def policy_denies(policy: str, *, said: str) -> str:
    return f"the ValidatingAdmissionPolicy {policy} denies it: {said}"


def namespace_leaves() -> str:
    return "the namespace is being deleted"


def right_missing(verb: str, *, resource: str) -> str:
    return f"the operator may not {verb} {resource}; install the chart's roles for this namespace"


def job_makes_no_pod(job: str, *, why: str) -> str:
    return f"Job {job} can make no pod: {why}"


def gateways_not_made(why: str) -> str:
    return f"the gateway's pods cannot be made: {why}"
