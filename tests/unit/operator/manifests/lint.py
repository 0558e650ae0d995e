"""What no manifest may have: a linter's checks of pods, roles and policies, as sentences."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from llama_operator.ports import Manifest

#: Volumes of Pod Security "restricted".
_VOLUMES: Final = frozenset(
    ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
)
_OF_THE_NODE: Final = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")
_LIKE_A_SECRET: Final = re.compile(r"(?i)secret|token|password|_key$")
_RESOURCES: Final = (
    ("requests", "cpu"), ("requests", "memory"), ("requests", "ephemeral-storage"),
    ("limits", "memory"), ("limits", "ephemeral-storage"),
)  # fmt: skip


def faults(objects: Sequence[Manifest]) -> list[str]:
    """Return what is wrong with these objects, which are all that there is of their kinds in a namespace."""
    policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
    found = [f"{_name(one)}: {fault}" for one in objects for fault in _faults_of(one)]
    for one in objects:
        pod = pod_of(one)
        if pod and not any(_selects(policy, pod) for policy in policies):
            found.append(f"{_name(one)}: no policy selects it")
    return found


def pod_of(one: Manifest) -> Manifest | None:
    """Return a pod, or the template of one, with metadata and spec; None for another kind."""
    if one["kind"] == "Pod":
        return one
    template: Manifest | None = one.get("spec", {}).get("template")
    return template


def _name(one: Manifest) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


def _selects(policy: Manifest, pod: Manifest) -> bool:
    labels = pod["metadata"].get("labels", {})
    wanted = policy["spec"]["podSelector"].get("matchLabels", {})
    return wanted.items() <= labels.items() and {"Ingress", "Egress"} <= set(policy["spec"]["policyTypes"])


def _faults_of(one: Manifest) -> Iterator[str]:
    match one["kind"]:
        case "Role" | "ClusterRole":
            yield from _of_rules(one["rules"])
        case "RoleBinding" | "ClusterRoleBinding" if one["roleRef"]["name"] in ("cluster-admin", "admin", "edit"):
            yield "binds a role that may do anything"
        case "NetworkPolicy":
            yield from _of_policy(one["spec"])
        case _:
            pod = pod_of(one)
            yield from _of_pod(pod["spec"]) if pod else ()


def _of_rules(rules: list[dict[str, Any]]) -> Iterator[str]:
    for rule in rules:
        resources = set(rule.get("resources", ()))
        if "*" in (*rule["verbs"], *resources, *rule["apiGroups"]):
            yield "a rule has a wildcard"
        if {"escalate", "bind", "impersonate"} & set(rule["verbs"]):
            yield "may give itself rights"
        if resources & {"pods/exec", "pods/attach", "pods/ephemeralcontainers", "nodes/proxy", "serviceaccounts/token"}:
            yield "may enter pods or take tokens"


def _of_policy(spec: Manifest) -> Iterator[str]:
    if {"Ingress", "Egress"} - set(spec["policyTypes"]):
        yield "leaves a direction open"
    if any(not rule.get("to") and not rule.get("ports") for rule in spec.get("egress", ())):
        yield "lets its pods go everywhere"
    if any(not rule.get("from") and not rule.get("ports") for rule in spec.get("ingress", ())):
        yield "lets everybody in"


def _of_pod(spec: Manifest) -> Iterator[str]:
    yield from (f"has {field}" for field in _OF_THE_NODE if spec.get(field))
    if spec.get("serviceAccountName", "default") == "default":
        yield "runs as the default account"
    security = spec.get("securityContext", {})
    if not security.get("runAsNonRoot") or security.get("runAsUser") == 0:
        yield "may run as root"
    if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    for volume in spec.get("volumes", ()):
        if set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} is of the node"
        if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
            yield f"volume {volume['name']} has no limit"
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        yield from (f"container {container['name']} {fault}" for fault in _of_container(container))


def _of_container(container: Manifest) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield "may get more rights"
    if security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False:
        yield "may run as root"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "may write its image"
    capabilities = security.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", ())) - {"IPC_LOCK"}:
        yield "has capabilities"
    resources = container.get("resources", {})
    yield from (f"has no {kind} of {what}" for kind, what in _RESOURCES if what not in resources.get(kind, {}))
    yield from _of_places(container)


def _of_places(container: Manifest) -> Iterator[str]:
    """What a container runs, where it listens and what its environment holds."""
    if any("hostPort" in port for port in container.get("ports", ())):
        yield "has a port of the node"
    if container["image"].endswith(":latest") or ":" not in container["image"].rpartition("/")[2]:
        yield "runs whatever image is the latest"
    for variable in container.get("env", ()):
        if "secretKeyRef" in variable.get("valueFrom", {}):
            yield f"has a Secret in {variable['name']}, which every child of it inherits"
        if variable.get("value") and _LIKE_A_SECRET.search(variable["name"]):
            yield f"has a secret in {variable['name']}"


def has_token(pod: Manifest) -> bool:
    """Return whether a pod gets a token of the API server."""
    mounted: bool = pod["spec"].get("automountServiceAccountToken", True)
    return mounted
