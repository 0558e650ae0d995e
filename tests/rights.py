"""Rights of the chart and of what the operator makes that an end-to-end run need not use, each with its reason.

The test of the audit log (tests/e2e/trust/test_audit.py) asks for a use of every other right.
"""

from collections.abc import Mapping
from typing import Final

from testbed.rights import Right

_OURS: Final = "llama-operator.dev"
_KINDS: Final = ("llamadeployments", "llamaweights", "llamaadapters")

#: Of the operator.
OPERATOR: Final[Mapping[Right, str]] = {
    **{
        Right(_OURS, f"{kind}/finalizers", "update"): (
            "OwnerReferencesPermissionEnforcement, off in the test bed, asks for it when a child names its owner"
        )
        for kind in _KINDS
    },
    **{
        Right(_OURS, kind, "patch"): "kopf takes away the finalizer of a version before, which no new object has"
        for kind in ("llamadeployments", "llamaadapters")
    },
    Right(_OURS, "llamaadapters/status", "patch"): "written where there is an adapter",
    Right("", "configmaps", "get"): (
        "of a chat template that a spec names, and of one that a waiting pod names and may not be there"
    ),
    Right("", "persistentvolumeclaims", "create"): "of staging.volumeClaimTemplate",
    Right("", "persistentvolumeclaims", "delete"): "of staging.volumeClaimTemplate, when its group is gone",
    Right("", "resourcequotas", "list"): "before a rollout of a namespace that refuses a pod by its quota",
    Right("coordination.k8s.io", "leases", "create"): "the first time that a namespace is served",
    Right("resource.k8s.io", "resourceclaimtemplates", "get"): "where a spec names device.claimTemplate",
    Right("policy", "poddisruptionbudgets", "delete"): "of a deployment that has become one group",
    **{Right("", "secrets", verb): "where a spec has access" for verb in ("list", "watch", "patch", "delete")},
    **{
        Right(group, kind, verb): "where a spec has gateway.ingress or gateway.route"
        for group, kind in (("networking.k8s.io", "ingresses"), ("gateway.networking.k8s.io", "httproutes"))
        for verb in ("get", "create", "patch", "delete")
    },
}
#: Of a gateway.
GATEWAY: Final[Mapping[Right, str]] = {}
#: Of a resolver.
RESOLVER: Final[Mapping[Right, str]] = {}
