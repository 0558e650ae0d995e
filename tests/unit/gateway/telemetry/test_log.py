"""Lines of the log."""

import json
import logging

from llama_serving.config.logs.lines import JsonFormatter
from llama_serving.gateway.telemetry.log import fields


def record(**extra: object) -> logging.LogRecord:
    made = logging.LogRecord("llama_gateway", logging.WARNING, __file__, 1, "attempt %s", ("failed",), None)
    made.__dict__.update(extra)
    return made


def test_a_line_is_json_with_the_fields_of_the_call() -> None:
    line = json.loads(JsonFormatter().format(record(**fields(group="a", reason='said "no"\n'))))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning", "logger": "llama_gateway", "message": "attempt failed", "group": "a",
        "reason": 'said "no"\n',
    }  # fmt: skip


def test_an_exception_is_a_field() -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        made = record(exc_info=(type(error), error, error.__traceback__))
    text = JsonFormatter().format(made)
    assert "\n" not in text
    assert "ValueError: why" in json.loads(text)["exception"]
