"""An engine's failure in one sentence, from the tracebacks that Serve keeps."""

import re
from typing import Final

# "package.module.SomeError: text", also behind the prefixes that Ray and vLLM put before a line.
_ERROR_LINE: Final = re.compile(r"(?:^|[\s)])((?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception)): (\S.*)$")
_WRAPPERS: Final = (
    "RayTaskError",
    "ActorDiedError",
    "RayActorError",
    "RuntimeError: Engine core initialization failed",
)
_LONGEST: Final = 600


def last_error(text: str) -> str:
    """The last line that names an error, without the module of its class; the empty string where there is none.

    Lines that only say that something else failed are taken when there is no other.
    """
    found = [f"{match[1].rsplit('.', 1)[-1]}: {match[2].strip()}" for match in map(_match, text.splitlines()) if match]
    telling = [line for line in found if not line.startswith(_WRAPPERS)]
    return (telling or found or [""])[-1][:_LONGEST]


def _match(line: str) -> re.Match[str] | None:
    return _ERROR_LINE.search(line)
