"""An engine's failure in one sentence, from the tracebacks that Serve keeps."""

import re
from typing import Final

# "package.module.SomeError: text", also behind the prefixes that Ray and vLLM put before a line.
_ERROR_LINE: Final = re.compile(r"(?:^|[\s)])((?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception)): (\S.*)$")
# pydantic says what is wrong in the first indented line below the one that names the error.
_PYDANTIC: Final = re.compile(r"\d+ validation errors? for (\w+)$")
_PYDANTIC_CAUSE: Final = re.compile(r"^\s+(?:Value error, )?(\S.*?)(?: \[type=.*)?$")
_WRAPPERS: Final = (
    "RayTaskError",
    "ActorDiedError",
    "RayActorError",
    "RuntimeError: Engine core initialization failed",
)
_LONGEST: Final = 600


def last_error(text: str) -> str:
    """Return the last line that names an error, without the module of its class; empty where there is none.

    Lines that only say that something else failed are taken when there is no other.
    """
    lines = text.splitlines()
    found = [error for number in range(len(lines)) if (error := _error(lines, number))]
    telling = [error for error in found if not error.startswith(_WRAPPERS)]
    return (telling or found or [""])[-1][:_LONGEST]


def _error(lines: list[str], number: int) -> str:
    match = _ERROR_LINE.search(lines[number])
    if match is None:
        return ""
    said = match[2].strip()
    if _PYDANTIC.search(said):
        said = _PYDANTIC.sub(lambda model: f"{model[1]}: {_cause(lines[number + 1 : number + 3])}", said)
    return f"{match[1].rsplit('.', 1)[-1]}: {said}"


def _cause(below: list[str]) -> str:
    causes = [match[1] for line in below if (match := _PYDANTIC_CAUSE.match(line))]
    return causes[0] if causes else "not valid"
