"""The catalogue of reasons is whole: each word once, each used, and what follows from it is what users rely on."""

import ast
import functools
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest

from llama_operator.api.crdgen.reasons import PAGES, reasons_page
from llama_serving.config.reason_catalogue import (
    CATALOGUE,
    ENTRIES,
    FAILURES,
    PRIORITY,
    SETBACKS,
    SPEAKERS,
    Entry,
    Severity,
    reason_from,
)
from llama_serving.config.reasons import CellReason, Reason, ReportReason, StagingReason

ROOT = Path(__file__).parents[3]
WORDS = [word for words in SPEAKERS for word in words]
KUBERNETES = {("simulated_group.py", "Unschedulable")}  # reason of a pod's own condition
SOURCES = sorted([*(ROOT / "operator").rglob("*.py"), *(ROOT / "serving").rglob("*.py")])
DEFINING = {"reasons.py", "reason_catalogue.py"}


@pytest.mark.parametrize("word", WORDS, ids=str)
def test_every_word_is_in_the_catalogue(word: StrEnum) -> None:
    assert CATALOGUE[word.value].word == word.value


def test_a_word_has_one_entry_and_so_one_meaning() -> None:
    assert len(CATALOGUE) == len(ENTRIES)
    assert {str(word) for word in WORDS} == set(CATALOGUE)


def test_the_words_are_what_they_were() -> None:
    found = sorted({str(word) for word in WORDS})
    assert found == (Path(__file__).parent / "reason_words.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry.word))
def test_every_entry_is_used(entry: Entry) -> None:
    names = {f"{words.__name__}.{word.name}" for words in SPEAKERS for word in words if word == entry.word}
    by_others = any(one.shown_as == entry.word for one in ENTRIES)  # ``reason_from`` gives it
    assert by_others or names & _used(), f"{entry.word}: none of {sorted(names)} is used"


@functools.cache
def _used() -> frozenset[str]:
    return frozenset().union(*(_members_of(path) for path in SOURCES if path.name not in DEFINING))


def _members_of(path: Path) -> set[str]:
    return set(re.findall(r"\b[A-Z]\w*Reason\.[A-Z_]+\b|\bReason\.[A-Z_]+\b", path.read_text(encoding="utf-8")))


def test_no_reason_is_written_as_a_plain_text() -> None:
    assert {(path.name, word) for path in SOURCES for word in _loose_words(path)} <= KUBERNETES


def _loose_words(path: Path) -> Iterator[str]:
    """Texts in the shape of a reason that are given as ``reason``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "reason":
            yield from _word(node.value)
        if isinstance(node, ast.Dict):
            values = zip(node.keys, node.values, strict=True)
            for key, value in values:
                if isinstance(key, ast.Constant) and key.value == "reason":
                    yield from _word(value)


def _word(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in CATALOGUE:
        yield node.value


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry.word))
def test_an_entry_is_whole(entry: Entry) -> None:
    assert entry.said_by
    assert entry.form
    assert entry.meaning
    assert entry.remedy or entry.severity not in (Severity.NEEDS_SOMEBODY, Severity.FAILED) or entry.shown_as is None
    assert not any(text.endswith(".") for text in (entry.form, entry.meaning, entry.remedy))
    assert entry.page in PAGES or not entry.page


@pytest.mark.parametrize(
    "entry", [one for one in ENTRIES if one.severity is Severity.NEEDS_SOMEBODY], ids=lambda one: one.word
)
def test_somebody_who_is_needed_is_told_what_to_do(entry: Entry) -> None:
    assert entry.remedy


def test_the_operator_looks_in_the_order_of_its_words() -> None:
    assert list(PRIORITY) == list(Reason)
    assert sorted(PRIORITY.values()) == list(PRIORITY.values())


def test_failures_are_those_that_come_before_the_waits() -> None:
    last = list(Reason).index(Reason.CACHE_UNUSED)
    assert frozenset(list(Reason)[: last + 1]) == FAILURES


def test_setbacks_are_these() -> None:
    assert {
        Reason.WEIGHTS_DENIED, Reason.WEIGHTS_GONE, Reason.WEIGHTS_REFUSED, Reason.DIGEST_DIFFERS, Reason.DISK_FULL,
        Reason.SWAP_FAILED, Reason.VERIFY_FAILED, Reason.CANARY_FAILED, Reason.ENGINE_FAILED, Reason.IMAGE_REFUSED,
        Reason.SERVING_IMAGE_TOO_OLD,
        Reason.DEVICES_MISSING, Reason.DRIVER_TOO_OLD, Reason.DEVICE_UNHEALTHY, Reason.DEVICE_BUSY,
    } == SETBACKS  # fmt: skip


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        (CellReason.RAY_STARTING, Reason.ENGINE_STARTING),
        (CellReason.STAGES_NOT_JOINED, Reason.STAGE_NOT_JOINED),
        (CellReason.LEADER_NOT_REACHED, Reason.STAGE_NOT_JOINED),
        (CellReason.WEIGHTS_STAGING, Reason.STAGING_WEIGHTS),
        (CellReason.DRAINING, Reason.REPLACING),
        (CellReason.SWAP_FAILED, Reason.SWAP_FAILED),
        (StagingReason.DISK_FULL, Reason.DISK_FULL),
        (StagingReason.WEIGHTS_BROKEN, Reason.WEIGHTS_REFUSED),
        (ReportReason.LICENSE_REFUSED, Reason.MODEL_REFUSED),
        ("of a later version", Reason.WEIGHTS_REFUSED),
        ("", Reason.WEIGHTS_REFUSED),
    ],
)
def test_a_word_of_another_part_becomes_one_of_the_operator(word: str, shown: Reason) -> None:
    assert reason_from(word, otherwise=Reason.WEIGHTS_REFUSED) is shown


@pytest.mark.parametrize("word", CellReason)
def test_the_operator_has_a_word_for_each_of_a_cell(word: CellReason) -> None:
    assert reason_from(word, otherwise=Reason.API_REJECTED) is not Reason.API_REJECTED


def test_the_page_has_every_reason_and_its_links_lead_somewhere() -> None:
    page = reasons_page()
    assert all(f"| `{entry.word}` |" in page for entry in ENTRIES)
    assert all((ROOT / "docs" / "reference" / target).is_file() for target in PAGES.values())
