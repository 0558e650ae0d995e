"""Keys, and gateways that know them."""

import base64
import hashlib
import json
from typing import Any

from llama_serving.config.access.rules import ACCESS_FILE, AccessKey, AccessRules
from tests.component.gateway.running import CHAT, Answer, Gateway

ASKED: dict[str, Any] = {"model": "llama", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}


def key(name: str, **more: Any) -> AccessKey:
    """Return the key whose secret is ``sk-`` and its name, or ``secret``."""
    secret = more.pop("secret", f"sk-{name}")
    return AccessKey(name=name, sha256=hashlib.sha256(secret.encode()).hexdigest(), **more)


def keys(*given: AccessKey) -> AccessRules:
    return AccessRules(mode="keys", keys=given)


def secret_object(rules: AccessRules | None, *, text: str | None = None) -> dict[str, Any]:
    """Return the Secret that the operator writes; ``text`` in place of the rules."""
    data = json.dumps(rules.to_file()) if rules is not None else text or ""
    return {
        "metadata": {"name": "d-access", "uid": "uid-of-access"},
        "data": {ACCESS_FILE: base64.b64encode(data.encode()).decode()},
    }


async def ask(running: Gateway, name: str = "", *, path: str = CHAT, body: Any = None, **more: Any) -> Answer:
    """Ask with the key of this name; empty: without one."""
    headers = {**more.pop("headers", {}), **({"authorization": f"Bearer sk-{name}"} if name else {})}
    data = b"" if more.get("method") == "GET" else json.dumps(ASKED if body is None else body).encode()
    return await running.request(path, data=data, headers=headers, **more)


def let_in(running: Gateway, rules: AccessRules | None) -> None:
    running.server.access.gate.take_over(rules)
