"""CEL rules of the labels and annotations that users put on pods.

Keys that Kubernetes or the operator read themselves are refused: they would change who is selected, routed or let in.
"""

from typing import Final

from llama_operator.api.crdgen.patterns import NAME, QUALIFIED_NAME, matches
from llama_operator.api.crdgen.rules import Rule, one_of
from llama_serving.config.names import API_GROUP, DNS_SUBDOMAIN, LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY

#: Bytes of keys and values of all annotations. A pod may have 262144; two of these and the operator's own fit.
MOST_BYTES: Final = 65_536

#: Domains below kubernetes.io whose keys are meant for users.
_FOR_USERS: Final = ("app.kubernetes.io", "cluster-autoscaler.kubernetes.io", "kubectl.kubernetes.io")
#: Keys that the operator sets, or that a ReplicaSet selects by.
_TAKEN: Final = (LABEL_COMPONENT, LABEL_MANAGED_BY, "pod-template-hash")

#: By which Multus gives a pod more interfaces.
MULTUS: Final = "k8s.v1.cni.cncf.io/networks"
#: By which Multus takes another network for the interface that all NetworkPolicies are about.
_MULTUS_DEFAULT: Final = "v1.multus-cni.io/default-network"
_GKE_INTERFACES: Final = "networking.gke.io/interfaces"
_GKE_DEFAULT: Final = "networking.gke.io/default-interface"
_NETWORK_KEYS: Final = (MULTUS, _GKE_INTERFACES, _GKE_DEFAULT)

_INTERFACE: Final = "[a-z][a-z0-9_.-]{0,14}"
_ATTACHMENT: Final = f"{DNS_SUBDOMAIN}(@{_INTERFACE})?"
_PAIR: Final = f'"(interfaceName|network)" *: *"{DNS_SUBDOMAIN}"'
_GKE_INTERFACE: Final = f"[{{] *{_PAIR} *, *{_PAIR} *[}}]"


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


def _of(key: str, form: str) -> str:
    """CEL: the value of this key has the form, where it is there."""
    return f"!('{key}' in self) || " + matches(form, f"self['{key}']")


def _multus_rule(field: str) -> Rule:
    """Return that Multus' networks are named alone: with a namespace they could be those of others."""
    return Rule(
        _of(MULTUS, f"{_ATTACHMENT}( *, *{_ATTACHMENT})*"),
        f"{field}: {MULTUS} must be names of networks of the same namespace, such as rail0,rail1 or rail0@net1, "
        "without a namespace and not as JSON",
    )


def network_rules(field: str) -> tuple[Rule, ...]:
    """Return the rules of annotations that give a pod more networks; ``field`` is what the user calls them."""
    return (
        Rule(
            f"self.all(key, key in {one_of(_NETWORK_KEYS)})",
            f"{field} must have keys of {', '.join(_NETWORK_KEYS)}: other annotations go into podTemplate.annotations",
        ),
        _multus_rule(field),
        Rule(
            _of(_GKE_INTERFACES, f"[[] *{_GKE_INTERFACE}( *, *{_GKE_INTERFACE})* *[]]"),
            f"{field}: {_GKE_INTERFACES} must be a list of interfaces, such as "
            '[{"interfaceName":"eth0","network":"default"},{"interfaceName":"eth1","network":"rdma-0"}]',
        ),
        Rule(_of(_GKE_DEFAULT, "eth0"), f"{field}: {_GKE_DEFAULT} must be eth0, by which the stages of a group talk"),
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
        _multus_rule(field),
        Rule(
            f"!('{_MULTUS_DEFAULT}' in self)",
            f"{field} must not have {_MULTUS_DEFAULT}: the NetworkPolicies of a group are about the cluster's network",
        ),
    )
