"""CEL rules of the labels and annotations that users put on pods.

Keys that Kubernetes or the operator read themselves are refused: they would change who is selected, routed or let in.
"""

from typing import Final

from llama_operator.api.crdgen.patterns import NAME, QUALIFIED_NAME, matches
from llama_operator.api.crdgen.rules import Rule, one_of
from llama_serving.config.names import API_GROUP, LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY

#: Bytes of keys and values of all annotations. A pod may have 262144; two of these and the operator's own fit.
MOST_BYTES: Final = 65_536

#: Domains below kubernetes.io whose keys are meant for users.
_FOR_USERS: Final = ("app.kubernetes.io", "cluster-autoscaler.kubernetes.io", "kubectl.kubernetes.io")
#: Keys that the operator sets, or that a ReplicaSet selects by.
_TAKEN: Final = (LABEL_COMPONENT, LABEL_MANAGED_BY, "pod-template-hash")


def _key_rules(field: str) -> tuple[Rule, ...]:
    domain = "key.split('/')[0]"
    ours = f"key.contains('/') && ({domain} == '{API_GROUP}' || {domain}.endsWith('.{API_GROUP}'))"
    reserved = f"{domain}.matches('^(.*[.])?(kubernetes|k8s)[.]io$')"
    theirs = f"key.contains('/') && {reserved} && !({domain} in {one_of(_FOR_USERS)})"
    return (
        Rule(
            f"self.all(key, {matches(QUALIFIED_NAME, 'key')} && (!key.contains('/') || size({domain}) <= 253))",
            f"{field} must have keys such as example.com/team: a name of at most 63 letters, digits and -_. behind an "
            "optional domain of at most 253 characters and a slash",
        ),
        Rule(
            f"!self.exists(key, {ours} || key in {one_of(_TAKEN)})",
            f"{field} must not have keys that the operator sets or reads: {API_GROUP}/*, {', '.join(_TAKEN)}; "
            "choose a domain of your own",
        ),
        Rule(
            f"!self.exists(key, {theirs})",
            f"{field} must not have keys that Kubernetes reserves: of kubernetes.io and k8s.io only those of "
            f"{', '.join(_FOR_USERS)} may be set; choose a domain of your own",
        ),
    )


def label_rules(field: str) -> tuple[Rule, ...]:
    """Return the rules of labels; ``field`` is what the user calls them."""
    return (
        *_key_rules(field),
        Rule(
            f"self.all(key, self[key] == '' || {matches(NAME, 'self[key]')})",
            f"{field} must have values of at most 63 letters, digits and -_. that begin and end with a letter or "
            "digit; put anything else into annotations",
        ),
        # The operator's own pods are let through the NetworkPolicies by this label.
        Rule(
            f"!('app.kubernetes.io/name' in self) || self['app.kubernetes.io/name'] != '{MANAGED_BY}'",
            f"{field} must not have app.kubernetes.io/name: {MANAGED_BY}, by which the operator's own pods are known",
        ),
    )


def annotation_rules(field: str) -> tuple[Rule, ...]:
    """Return the rules of annotations; ``field`` is what the user calls them."""
    size = "self.map(key, size(bytes(key)) + size(bytes(self[key]))).sum()"
    return (
        *_key_rules(field),
        Rule(
            f"size(self) == 0 || {size} <= {MOST_BYTES}",
            f"{field} must have at most {MOST_BYTES} bytes in all keys and values: put larger data into a ConfigMap",
        ),
    )
