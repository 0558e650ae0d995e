"""One record is one line, whatever foreign text it holds: names of models, URLs, errors of engines.

A character that moves the cursor, ends a line, changes colours or turns the direction of the text is written as its
escape (``\\n``, ``\\x1b``, ``\\u202e``), so no text can look like a record of its own. A traceback has its own lines;
each begins with ``TRACE``, which no record begins with.
"""

import json
import logging
import sys
import traceback
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any, Final

from llama_serving.config import names

TEXT: Final = "text"
JSON: Final = "json"
#: What a line of a traceback begins with.
TRACE: Final = "    | "

_LINE: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: Categories of Unicode: control, format (which turns text around), surrogate, and the two ends of lines.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def one_line(text: str) -> str:
    """Return the text with every character that does not stand for itself as its escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(one) if unicodedata.category(one) in _UNSEEN else one for one in text)


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


class LineFormatter(logging.Formatter):
    """Formats a record as time, level, name and message in one line."""

    def __init__(self, line: str = _LINE) -> None:
        super().__init__(line)

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and behind it those of a traceback."""
        record.message = one_line(record.getMessage())
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [self.formatMessage(record)]
        if record.exc_info:
            lines += traced(self.formatException(record.exc_info))
        if record.stack_info:
            lines += traced(record.stack_info)
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """Formats a record, and the fields that ``extra={"fields": ...}`` attached to it, as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line: JSON has escapes for all that is not printable ASCII."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def formatter_of(environment: Mapping[str, str]) -> logging.Formatter:
    """Return the formatter that the environment asks for; another value than ``json`` is text."""
    return JsonFormatter() if environment.get(names.ENV_LOG_FORMAT) == JSON else LineFormatter()


def set_up_log(environment: Mapping[str, str], *, stream: IO[str], level: str | int = logging.INFO) -> None:
    """Write everything that this process logs to a stream, in the form that the environment asks for."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter_of(environment))
    logging.basicConfig(level=level, handlers=[handler])


def traced(text: str) -> list[str]:
    """Return the lines of a traceback, none of which can be taken for a record."""
    return [f"{TRACE}{one_line(line)}" for line in text.split("\n")]


def write_failure(error: BaseException, sentence: str) -> None:
    """Write to stderr how a command failed: its traceback, and as the last line the sentence that is shown for it."""
    lines = [*traced("".join(traceback.format_exception(error)).rstrip("\n")), one_line(sentence)]
    sys.stderr.write("\n".join(lines) + "\n")
