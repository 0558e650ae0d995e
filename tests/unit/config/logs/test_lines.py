"""No foreign text ends a line of a log, moves the cursor or looks like a record."""

import io
import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.logs.lines import (
    TRACE,
    JsonFormatter,
    LineFormatter,
    formatter_of,
    one_line,
    set_up_log,
    write_failure,
)

FORGED = "llama\n2026-11-29 12:00:00,000 INFO llama_serving.cell: all is well"
HOSTILE = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\n\r\x1b\x00\x7f\x85\u2028\u202e\u200f\t")))


def record(text: str, error: BaseException | None = None) -> logging.LogRecord:
    shown = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("llama", logging.WARNING, __file__, 1, "model %s", (text,), shown)


def raised(text: str) -> BaseException:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


@given(HOSTILE)
def test_every_character_of_a_line_stands_for_itself(text: str) -> None:
    line = one_line(text)
    assert not {unicodedata.category(one) for one in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    line.encode("utf-8")  # nothing is left that no file takes


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("größer als 日本 हिन्दी", "größer als 日本 हिन्दी"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2J\x1b[31mred", "\\x1b[2J\\x1b[31mred"),
        ("exe\u202egnp.txt", "exe\\u202egnp.txt"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_not_seen_is_written_as_its_escape(text: str, line: str) -> None:
    assert one_line(text) == line


@given(HOSTILE)
def test_a_record_is_one_line(text: str) -> None:
    assert len(LineFormatter().format(record(text)).splitlines()) == 1
    line = JsonFormatter().format(record(text))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == f"model {text}"


@given(HOSTILE)
def test_a_line_of_a_traceback_is_no_record(text: str) -> None:
    first, *others = LineFormatter().format(record("a", raised(text))).splitlines()
    assert first.endswith("WARNING llama: model a")
    assert others
    assert all(line.startswith(TRACE) for line in others)
    assert len(JsonFormatter().format(record("a", raised(text))).splitlines()) == 1


def test_a_forged_record_stays_in_the_line_that_quotes_it() -> None:
    (line,) = LineFormatter().format(record(FORGED)).splitlines()
    assert "\\n2026-11-29 12:00:00,000 INFO" in line


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, LineFormatter),
        ({"LLAMA_LOG_FORMAT": "text"}, LineFormatter),
        ({"LLAMA_LOG_FORMAT": "json"}, JsonFormatter),
        ({"LLAMA_LOG_FORMAT": "JSON?"}, LineFormatter),
    ],
)
def test_the_environment_chooses_the_form(environment: dict[str, str], kind: type[logging.Formatter]) -> None:
    assert type(formatter_of(environment)) is kind


def test_everything_that_the_process_logs_has_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    stream = io.StringIO()
    set_up_log({"LLAMA_LOG_FORMAT": "json"}, stream=stream, level="WARNING")
    logging.getLogger("some.library").warning("said %s", "a\nb")
    logging.getLogger("some.library").info("not asked for")
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["logger"], found["level"], found["message"]) == ("some.library", "warning", "said a\nb")


def test_the_last_line_of_a_failed_command_is_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    write_failure(raised(FORGED), "the source refuses:\nno")
    *traceback, last = stream.getvalue().splitlines()
    assert last == "the source refuses:\\nno"
    assert all(line.startswith(TRACE) for line in traceback)
    assert any("ValueError: llama" in line for line in traceback)
