"""Record a real engine's answers: ``python -m tests.component.gateway.clients.record http://HOST:PORT``.

The engine is vLLM with ``--enable-auto-tool-choice --tool-call-parser hermes --served-model-name llama`` and any chat
model, such as SmolLM2. Record again when the pinned vLLM changes.
"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from tests.component.gateway.clients.cases import CASES, CHAT

FOLDER: Final = Path(__file__).parent / "recorded"
_SECONDS: Final = 300.0


def ask(base: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
    """Return status and body of an answer."""
    asked = urllib.request.Request(base + path, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def main(base: str) -> int:
    """Record every case; exit status 1 where an answer is an error."""
    failed = 0
    for name, (path, body) in CASES.items():
        options = {"stream": True, **({"stream_options": {"include_usage": True}} if path == CHAT else {})}
        for kind, more in (("json", {}), ("sse", options)):
            status, text = ask(base, path, {**body, **more})
            if status != 200:
                failed += 1
                sys.stderr.write(f"{name}.{kind}: {status} {text[:2000]}\n")
                continue
            (FOLDER / f"{name}.{kind}").write_text(text, encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].rstrip("/")))
