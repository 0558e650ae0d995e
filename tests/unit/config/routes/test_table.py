"""The table of routes: each path once, every refusal with a sentence, nothing that changes an engine is passed."""

import re

import pytest

from llama_serving.config.routes.route import Route, Verdict, Work
from llama_serving.config.routes.table import ANSWERED, FAMILIES, PASSED, PASSED_PATHS, REFUSED, ROUTES

CHANGES = re.compile(
    r"lora|sleep|wake|rpc|profile|reset|update|pause|resume|scale|abort|cache|weight|server_info|fault"
)


def test_each_path_is_listed_once() -> None:
    paths = [route.path for route in ROUTES]
    assert len(paths) == len(set(paths))
    assert {route.verdict for route in PASSED} == {Verdict.PASSED}
    assert {route.verdict for route in ANSWERED} == {Verdict.ANSWERED}
    assert {route.verdict for route in REFUSED} == {Verdict.REFUSED}


def test_passed_paths_are_literal_and_in_a_spelling_of_their_own() -> None:
    for path in PASSED_PATHS:
        assert re.fullmatch(r"(/[a-z0-9_]+)+", path), path


def test_nothing_that_changes_the_engine_is_passed() -> None:
    assert [path for path in PASSED_PATHS if CHANGES.search(path)] == []
    changing = [route for route in ROUTES if CHANGES.search(route.path)]
    assert len(changing) > 20
    assert {route.verdict for route in changing} == {Verdict.REFUSED}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_a_note_is_a_clause(route: Route) -> None:
    assert route.note
    assert route.note[-1] not in ".!"
    assert (route.work is Work.NONE) or route.verdict is Verdict.PASSED


def test_a_family_has_no_route_of_its_own() -> None:
    for prefix, note in FAMILIES.items():
        assert note
        assert not [route.path for route in ROUTES if route.path == prefix or route.path.startswith(f"{prefix}/")]
