"""Why the API server refused an object: quota, LimitRange, Pod Security, a webhook, a policy, a missing class."""

from typing import Final

from llama_operator.observe.causes.cause import CauseKind, PodCause, form, read

_FORMS: Final = (
    form(CauseKind.QUOTA, "exceeded quota: (?P<name>[^ ,]+), requested: (?P<other>.+?), (?P<said>used: .+)"),
    form(CauseKind.QUOTA_NEEDS, "failed quota: (?P<name>[^ :]+): must specify (?P<said>.+)"),
    form(CauseKind.OBJECT_MISSING, "no PriorityClass with name (?P<name>[^ ]+) was found", "PriorityClass"),
    form(CauseKind.OBJECT_MISSING, 'RuntimeClass "(?P<name>[^"]+)" not found', "RuntimeClass"),
    form(CauseKind.OBJECT_MISSING, "error looking up service account [^/ ]+/(?P<name>[^: ]+): serviceaccounts? .* not "
         "found", "ServiceAccount"),
    form(CauseKind.POD_SECURITY, 'violates PodSecurity "(?P<name>[^":]+)[^"]*": (?P<said>.+)'),
    form(CauseKind.LIMIT_RANGE, "is forbidden: \\[?(?P<said>(minimum|maximum) .+? usage per .+)"),
    form(CauseKind.LIMIT_RANGE, "is forbidden: \\[?(?P<said>.+ max limit to request ratio per .+)"),
    form(CauseKind.POLICY, "ValidatingAdmissionPolicy '(?P<name>[^']+)'.* denied request: (?P<said>.+)"),
    form(CauseKind.WEBHOOK, 'admission webhook "(?P<name>[^"]+)" denied the request:? ?(?P<said>.*)'),
    form(CauseKind.WEBHOOK_SILENT, 'failed calling webhook "(?P<name>[^"]+)"'),
    form(CauseKind.NAMESPACE_LEAVES, "because it is being terminated"),
    form(CauseKind.NO_RIGHT, 'cannot (?P<name>[a-z]+) resource "(?P<what>[^"]+)"'),
)  # fmt: skip


def refusal_cause(message: str) -> PodCause | None:
    """Return why an object was refused; None where the text has no known form."""
    return read(_FORMS, message)
