"""From the Secrets with keys to the rules that gateways get, and what is said of Secrets whose key may not call.

Of Secrets that cannot all be had the oldest are: a new one never takes the place of a key that works. So of two with
the same key the older may call, and of more than MOST_KEYS, or more than LONGEST_ACCESS bytes, the newest are left out.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.edge.access import AccessSpec
from llama_operator.api.v1alpha1.edge.access_status import MOST_NAMED, AccessStatus, RefusedKey
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import edge as sentences
from llama_operator.ports import AccessSecrets, KeySecret
from llama_serving.config import names
from llama_serving.config.access.rules import LONGEST_ACCESS, MOST_KEYS, AccessKey, AccessLimits, AccessRules
from llama_serving.config.reasons import Reason
from llama_serving.config.wording import clause

#: Reasons that concern all keys.
_OF_ALL: Final = frozenset({Reason.ACCESS_UNREADABLE, Reason.NO_KEY})
_LONGEST: Final = 300  # characters of what others say
#: Bytes of the rules beside their keys.
_AROUND: Final = 256


@dataclass(frozen=True)
class AccessDecision:
    """The rules of a deployment, and why some Secrets have no part in them: name -> sentence."""

    rules: AccessRules
    refused: dict[str, str]


def decide_access(access: AccessSpec, secrets: AccessSecrets, *, deployment: str) -> AccessDecision:
    """Make the rules; the same Secrets make the same rules, in whatever order they come."""
    if access.mode == "open":
        clients = access.clients
        limits = clients.limits() if clients else AccessLimits()
        return AccessDecision(AccessRules(client=limits, client_header=clients.header if clients else ""), {})
    wanted = access.keys.selector.match_labels if access.keys and access.keys.selector else None
    labels = {names.LABEL_DEPLOYMENT: deployment} if wanted is None else wanted
    found = sorted((one for one in secrets.keys if labels.items() <= one.labels.items()), key=_age)
    return _rules(found)


def _age(secret: KeySecret) -> tuple[str, str]:
    return secret.created, secret.name


def _rules(secrets: list[KeySecret]) -> AccessDecision:
    kept: list[AccessKey] = []
    refused: dict[str, str] = {}
    of_key: dict[str, str] = {}  # hash -> name of the Secret that has it
    size = _AROUND
    for secret in secrets:
        if secret.rule is None:
            refused[secret.name] = sentences.key_refused(secret.name, why=secret.fault)
            continue
        first = of_key.setdefault(secret.rule.sha256, secret.name)
        takes = len(secret.rule.model_dump_json(exclude_defaults=True).encode()) + 1
        if first != secret.name:
            refused[secret.name] = sentences.key_doubled(secret.name, first=first)
        elif len(kept) >= MOST_KEYS:
            refused[secret.name] = sentences.too_many_keys(secret.name, most=MOST_KEYS)
        elif size + takes > LONGEST_ACCESS:
            refused[secret.name] = sentences.rules_too_long(secret.name, most=LONGEST_ACCESS)
        else:
            kept.append(secret.rule)
            size += takes
    return AccessDecision(AccessRules(mode="keys", keys=tuple(sorted(kept, key=lambda one: one.name))), refused)


def access_status(spec: LlamaDeploymentSpec, state: PlanState) -> AccessStatus | None:
    """Return what is known of the keys; None where the spec asks for no access and none is left of it."""
    snapshot = state.snapshot
    before, seen = snapshot.status.access, snapshot.access
    if spec.access is None:
        left = before is not None and (seen is None or snapshot.has_access_rules)
        return AccessStatus() if left else None
    if seen is None or seen.denied:  # what was known before is not taken back for what is not seen now
        return (before or AccessStatus()).model_copy(update={"mode": spec.access.mode})
    decision = decide_access(spec.access, seen, deployment=snapshot.key.name)
    expired = sum(_is_over(one, state.now) for one in decision.rules.keys)
    named = tuple(
        RefusedKey(secret=name, reason=Reason.KEY_REFUSED, message=decision.refused[name])
        for name in sorted(decision.refused)[:MOST_NAMED]
    )
    return AccessStatus(
        mode=spec.access.mode,
        keys_ready=len(decision.rules.keys) - expired,
        keys_expired=expired,
        keys_refused=len(decision.refused) + (seen.left_out if spec.access.mode == "keys" else 0),
        refused=named,
    )


def explain_access(spec: LlamaDeploymentSpec, status: AccessStatus | None, state: PlanState) -> tuple[Explanation, ...]:
    """Say what keeps all keys from working. A Secret that is refused concerns its own key only: see access_ready."""
    seen, fault = state.snapshot.access, state.snapshot.access_fault
    if spec.access is None or status is None:
        return ()
    if seen is not None and seen.denied:
        return (Explanation(Reason.ACCESS_UNREADABLE, sentences.keys_denied(clause(seen.denied, _LONGEST))),)
    if seen is None:
        return (Explanation(Reason.API_RETRY, sentences.keys_not_listed(clause(fault, _LONGEST))),) if fault else ()
    if fault:
        return (Explanation(Reason.ACCESS_UNREADABLE, sentences.rules_not_written(clause(fault, _LONGEST))),)
    if status.mode == "keys" and not status.keys_ready:
        labels = _labels(spec.access, state.snapshot.key.name)
        return (Explanation(Reason.NO_KEY, sentences.no_key(expired=status.keys_expired, labels=labels)),)
    return ()


def access_ready(
    status: AccessStatus, seen: AccessSecrets | None, waits: tuple[Explanation, ...]
) -> tuple[bool, tuple[str, str]]:
    """Return whether all keys may call, with reason and message; ``waits``: what keeps all of them from it."""
    first = next((one for one in waits if one.reason in _OF_ALL), None)
    if first:
        return False, (first.reason, first.detail)
    if status.keys_refused:
        named = status.refused[0].message if status.refused else ""
        left_out = seen.left_out if seen else 0
        text = sentences.keys_refused(status.keys_refused, first=named, left_out=left_out)
        return False, (Reason.KEY_REFUSED, text)
    if seen is None:
        return False, (Reason.API_RETRY, sentences.keys_unknown())
    if not status.mode:
        return True, (Reason.GATEWAY_STARTING, sentences.access_ends())
    if status.mode == "open":
        return True, (Reason.SERVING, sentences.clients_limited())
    return True, (Reason.SERVING, sentences.keys_ready(status.keys_ready, expired=status.keys_expired))


def _labels(access: AccessSpec, deployment: str) -> str:
    """Write the labels that a Secret with a key must have, as kubectl takes them."""
    wanted = access.keys.selector.match_labels if access.keys and access.keys.selector else None
    found = {names.LABEL_DEPLOYMENT: deployment} if wanted is None else wanted
    return ",".join((f"{names.LABEL_ACCESS_KEY}=true", *(f"{key}={found[key]}" for key in sorted(found))))


def _is_over(key: AccessKey, now: datetime) -> bool:
    return key.expires is not None and key.expires <= now.timestamp()
