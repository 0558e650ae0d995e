"""A chat template with a mistake is found before an engine starts; those of models are no mistake."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from llama_serving.cell.template_check import template_refusal
from tests.unit.config.chat import templates

pytestmark = [
    pytest.mark.serving,
    pytest.mark.skipif(find_spec("jinja2") is None, reason="needs the serving environment"),
]

ALL = {name: text for name, text in vars(templates).items() if name.isupper() and not name.startswith("_")}


@pytest.mark.parametrize("name", ALL)
def test_a_template_is_fine(tmp_path: Path, name: str) -> None:
    (tmp_path / "t").write_text(ALL[name], encoding="utf-8")
    assert template_refusal(str(tmp_path / "t")) == ""


def test_tags_of_training_and_of_loops_are_fine(tmp_path: Path) -> None:
    text = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% continue %}{% endfor %}"
    (tmp_path / "t").write_text(text, encoding="utf-8")
    assert template_refusal(str(tmp_path / "t")) == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{% for m in messages %}{{ m.content }}", "is no Jinja: Unexpected end of template"),
        (b"a\n{{ m.content", "in line 2; correct it"),
        (b"{% includes %}", "is no Jinja: Encountered unknown tag"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "t").write_bytes(content)
    refusal = template_refusal(str(tmp_path / "t"))
    assert "spec.model.chatTemplate" in refusal
    assert words in refusal
