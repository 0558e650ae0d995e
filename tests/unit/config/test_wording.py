"""Numbers with their nouns, rough times, and what others wrote as a clause."""

import pytest

from llama_serving.config.wording import clause, plural


@pytest.mark.parametrize(
    ("number", "nouns", "shown"),
    [
        (0, (), "0 groups"),
        (1, (), "1 group"),
        (2, (), "2 groups"),
        (1, ("x",), "1 group"),
        (3, ("groups wait",), "3 groups wait"),
    ],
)
def test_a_number_and_its_noun(number: int, nouns: tuple[str, ...], shown: str) -> None:
    assert plural(number, "group", *nouns) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        (" no ", "no"),
        ("0/2 nodes are available:\n 2 Insufficient cpu. ", "0/2 nodes are available: 2 Insufficient cpu"),
        ("wait ...", "wait"),
    ],
)
def test_what_others_wrote(text: str, shown: str) -> None:
    assert clause(text) == shown


def test_of_a_long_text_the_end_is_kept() -> None:
    assert clause("one two three.", 12) == "... two three"
