"""Whether a chat template that the spec names can be read as one: its Jinja, as transformers reads it.

A template with a mistake in it would start an engine that refuses every chat. Its tags are those of Jinja, loop
controls, and ``generation``, which marks what a model is trained on.
"""

from pathlib import Path
from typing import Any

from llama_serving.config.error_text import error_text


def template_refusal(path: str) -> str:
    """Return what is wrong with the template, in one sentence; empty where nothing is."""
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class GenerationTag(Extension):  # type: ignore[misc]
        tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        text = Path(path).read_text(encoding="utf-8")
        ImmutableSandboxedEnvironment(extensions=[loopcontrols, GenerationTag]).parse(text)
    except TemplateError as error:
        line = f" in line {error.lineno}" if getattr(error, "lineno", None) else ""
        return f"the chat template of spec.model.chatTemplate is no Jinja: {error.message}{line}; correct it"
    except (OSError, UnicodeDecodeError) as error:
        return f"the chat template of spec.model.chatTemplate cannot be read: {error_text(error)}"
    return ""
