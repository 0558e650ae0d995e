"""May these weights be fetched with the Secret that their spec names? Its owner says so, on the Secret itself.

Who may create a LlamaDeployment need not be allowed to read Secrets. Without a rule he could name any Secret of the
namespace as the credentials of a source of his own, and the resolver would send it there. So whoever owns a Secret
labels it ``llama-operator.dev/source``, and may list with an annotation of the same group where its content may be
sent.

A permission holds for one object: a source cannot change, and another Secret is another question. What was accepted
before there was the rule (``status.permittedSecret`` absent) keeps what it has.
"""

from collections.abc import Mapping
from typing import Any

from llama_operator.observe.weights import WeightsSnapshot
from llama_operator.plan.causes import OF_MODEL
from llama_operator.plan.sentences import causes as cause_sentences
from llama_operator.plan.sentences import weights as sentences
from llama_serving.config import names
from llama_serving.config.reasons import Reason
from llama_serving.config.source import fill, split
from llama_serving.config.walls.places import is_place, split_places

Denial = tuple[Reason, str]


def why_denied(snapshot: WeightsSnapshot, metadata: Mapping[str, Any] | None, *, label_required: bool) -> Denial | None:
    """Return why its Secret may not be sent to its source; None where it may, or where there is no spec.

    ``metadata`` of the Secret; None where it does not exist. What a Job would wait for might come without the label.
    """
    spec = snapshot.spec
    if spec is None:
        return None
    secret = spec.credentials_secret
    if metadata is None:
        field = f"{OF_MODEL if snapshot.of_deployment else ''}credentialsSecret"
        text = cause_sentences.object_missing("Secret", secret, namespace=snapshot.key.namespace, field=field)
        return (Reason.REFERENCE_MISSING, text) if label_required else None
    labels = metadata.get("labels") or {}
    if labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY:
        return Reason.SECRET_NOT_ALLOWED, sentences.secret_is_ours(secret)
    if label_required and names.LABEL_SOURCE not in labels:
        return Reason.SECRET_NOT_ALLOWED, sentences.secret_without_label(secret, label=names.LABEL_SOURCE)
    allowed = (metadata.get("annotations") or {}).get(names.ANNOTATION_SOURCE_HOSTS)
    address = split(fill(spec.source, spec.revision))
    if allowed is None or any(is_place(address, place) for place in split_places(allowed)):
        return None
    host = f"{address.scheme}://{address.host}"
    said = sentences.secret_not_for_host(secret, host=host, allowed=allowed, annotation=names.ANNOTATION_SOURCE_HOSTS)
    return Reason.SECRET_NOT_ALLOWED, said
