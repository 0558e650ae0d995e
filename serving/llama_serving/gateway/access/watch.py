"""The rules of access, from the one Secret in which the operator keeps them.

It is watched, not mounted: a mounted Secret is read again a minute later. What cannot be read leaves the rules that
were known before; where none were, nobody comes in. A gateway whose Role does not name the Secret has no rules.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from llama_serving.common.kube_access import Access
from llama_serving.config.access.rules import ACCESS_FILE, LONGEST_ACCESS, AccessRules, access_secret
from llama_serving.config.error_text import rule_text
from llama_serving.gateway.access.gate import Gate
from llama_serving.gateway.discovery.object_watch import ObjectWatch, Wanted, WatchTimes


@dataclass(frozen=True, slots=True)
class ReadRules:
    """What the Secret says; ``fault``: why it is of no use, as a clause, else empty."""

    rules: AccessRules | None
    fault: str = ""


class RulesWatch:
    """Tells a gate the rules of one deployment."""

    def __init__(
        self,
        gate: Gate,
        *,
        deployment: str,
        namespace: str,
        access: Callable[[], Access],
        times: WatchTimes | None = None,
    ) -> None:
        self._gate = gate
        selector = ("fieldSelector", f"metadata.name={access_secret(deployment)}")
        wanted = Wanted("rules of access", f"/api/v1/namespaces/{namespace}/secrets", selector)
        self._watch = ObjectWatch(wanted, parse_rules, access=access, times=times or WatchTimes(max_backoff=60))

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._watch.run(self._tell)

    def _tell(self, found: Mapping[str, ReadRules]) -> None:
        read = next(iter(found.values()), ReadRules(None))
        if read.fault:
            self._gate.close(read.fault)
        else:
            self._gate.take_over(read.rules)


def parse_rules(secret: dict[str, Any]) -> ReadRules:
    """Return the rules in a Secret."""
    text = (secret.get("data") or {}).get(ACCESS_FILE)
    if not isinstance(text, str):
        return ReadRules(None, f"the Secret has no {ACCESS_FILE}")
    if len(text) > LONGEST_ACCESS * 4 // 3 + 4:
        return ReadRules(None, f"{ACCESS_FILE} has more than {LONGEST_ACCESS} bytes")
    try:
        return ReadRules(AccessRules.model_validate_json(base64.b64decode(text, validate=True)))
    except ValidationError as error:
        return ReadRules(None, rule_text(error.errors(include_input=False)[0]))
    except (binascii.Error, ValueError):
        return ReadRules(None, f"{ACCESS_FILE} is not base64")
