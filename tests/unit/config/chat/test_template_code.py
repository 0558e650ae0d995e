"""The code of a template is what is left of it without texts, literals and comments; whatever the template is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.chat.template_code import code_of


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a {{ b }} c", ["b"]),
        ("{%- if x -%}y{%- endif %}", ["-", "if", "x", "-", "-", "endif"]),
        ("{{ 'a' + \"b\" + c }}", ["+", "+", "c"]),
        ("{{ '{{ a }}' }}{{ b }}", ["b"]),
        ("{{ 'it\\'s' }}{{ b }}", ["b"]),
        ("{# a {{ b }} #}{{ c }}", ["c"]),
        ("{{ a }} {# never closed {{ b }}", ["a"]),
        ("{{ a 'never closed }} {{ b }}", ["a"]),
        ("{{ a", ["a"]),
        ("{% set d = {'k': {'l': 1}} %}{{ e }}", ["set", "d", "=", "{", ":", "{", ":", "1}}", "e"]),
    ],
)
def test_what_stands_in_tags(template: str, words: list[str]) -> None:
    assert code_of(template).split() == words


@given(st.text(alphabet="{}%#'\"\\ab"))
def test_any_text_has_some_code(template: str) -> None:
    found = code_of(template)
    assert "'" not in found
    assert '"' not in found
    assert len(found) <= 2 * len(template)


@pytest.mark.parametrize("piece", ["{{", "{%", "{{ '", "{{ '\\'", "{#", "{{ }}", "[a(", "[{", "{{ \"' "])
def test_a_long_template_is_read_once(piece: str) -> None:
    """A mebibyte that a stranger wrote; a way that reads it again from every tag would take hours."""
    code_of(piece * ((1 << 20) // len(piece)))
