"""The table of listening ports, and the page that shows it."""

from pathlib import Path

from llama_serving.config.walls.listening import LISTENING, BoundTo, listening_rows

PAGE = Path(__file__).parents[4] / "docs" / "explanation" / "threat-model.md"


def test_the_threat_model_shows_every_port() -> None:
    shown = PAGE.read_text().splitlines()
    first = shown.index(listening_rows()[0])
    assert shown[first : first + len(LISTENING)] == listening_rows()
    assert not shown[first + len(LISTENING)].startswith("|"), "the page has a row that the table has not"


def test_a_port_has_one_row_for_each_pod_and_address() -> None:
    known = [(pod, row.port, row.bound) for row in LISTENING for pod in row.pods if row.port]
    assert len(known) == len(set(known))
    assert {row.bound for row in LISTENING} == set(BoundTo)
