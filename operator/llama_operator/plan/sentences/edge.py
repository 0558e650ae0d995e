"""Sentences about keys of clients, certificates, routes and Ingresses. None shows a value of a Secret."""

from llama_serving.config.wording import plural


def key_refused(secret: str, *, why: str) -> str:
    """Say why a Secret's key may not call."""
    return f"the key in Secret {secret} may not call: {why}"


def key_doubled(secret: str, *, first: str) -> str:
    """Say that an older Secret has the same key."""
    return f"the key in Secret {secret} may not call: Secret {first} has the same key; make another one"


def too_many_keys(secret: str, *, most: int) -> str:
    """Say that there are more keys than gateways take."""
    return f"the key in Secret {secret} may not call: {most} older ones are there, which is the most; delete some"


def rules_too_long(secret: str, *, most: int) -> str:
    """Say that the rules of all keys are longer than gateways read."""
    return f"the key in Secret {secret} may not call: all rules would have more than {most} bytes; shorten models"


def keys_refused(count: int, *, first: str, left_out: int) -> str:
    """Count the refused Secrets, and quote the first."""
    because = f": {first}" if first else ""
    more = f"; {left_out} are beyond the most that are read of a namespace" if left_out else ""
    return f"{plural(count, 'Secret')} of spec.access cannot be used{because}{more}"


def keys_ready(count: int, *, expired: int) -> str:
    """Count the keys that may call."""
    return f"{plural(count, 'key')} may call, {expired} expired"


def clients_limited() -> str:
    """Say that everybody may call."""
    return "everybody may call, and each client has the limits of spec.access.clients"


def access_ends() -> str:
    """Say that gateways are still replaced by such as ask for no key."""
    return "spec.access was removed, and the gateways that go by it are replaced"


def no_key(*, expired: int, labels: str) -> str:
    """Say that nobody may call."""
    over = f", {expired} expired" if expired else ""
    return f"spec.access.mode is keys and 0 keys are ready{over}, so no request is taken; label a Secret {labels}"


def keys_denied(said: str) -> str:
    """Say that the operator may not watch the Secrets with keys."""
    return (
        "spec.access needs Secrets that the operator may not list, watch and patch, so no change of a key reaches the "
        f"gateways: install the chart with rbac.accessKeys=true: {said}"
    )


def rules_not_written(said: str) -> str:
    """Say that the Secret with the rules was not taken."""
    return f"the rules of spec.access do not reach the gateways: {said}"


def certificate_refused(pod: str, *, fault: str, secret: str, kept: bool) -> str:
    """Say what is wrong with the mounted certificate, and what clients meet."""
    end = "the one before it is shown on" if kept else "without one this gateway takes no connection"
    return f"gateway {pod} cannot use Secret {secret} (spec.gateway.tls.secretName): {fault}; {end}"


def kind_missing(kind: str, *, field: str, group: str) -> str:
    """Say that the cluster does not have a kind."""
    return (
        f"{field} asks for an {kind}, and this cluster has no {group}: install the CRDs of the Gateway API, or use "
        "spec.gateway.ingress"
    )


def kind_denied(kind: str, *, field: str, said: str) -> str:
    """Say that the operator may not read an object that it makes."""
    return f"{field} asks for an {kind} that the operator may not read: install the chart with rbac.routes=true: {said}"


def route_not_accepted(name: str, *, parent: str, said: str) -> str:
    """Say that a Gateway does not take the route."""
    return f"HTTPRoute {name} is not accepted by Gateway {parent}: {said}"


def keys_not_listed(said: str) -> str:
    """Say that the Secrets with keys are not known yet."""
    return f"the Secrets with keys are not listed yet, gateways go by the rules that they have: {said}"


def keys_unknown() -> str:
    """Say that nothing is known of keys."""
    return "the Secrets with keys are not listed yet"
