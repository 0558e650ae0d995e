"""CEL rules of the CRD: a check that the API server runs, and the sentence that the user reads when it does not hold.

A sentence names the field and the remedy. The API server itself shows the value of a plain field; a rule over a whole
object shows only ``object``, so such a rule says which of its values collide.
"""

import json
from dataclasses import dataclass
from string import Formatter
from typing import Any

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """``check`` must be true of ``self``, else the user reads ``message``.

    ``shown`` is put behind the message in brackets; a CEL expression in braces stands for its value, as in
    ``tensor is {self.sharding.tensor}``. (Written as one ``format``: the API server takes the length of
    ``string(int)`` for unbounded, so a sum of strings would not pass its cost limit.) ``field`` is the path, from
    ``self`` on, of the field that the user is pointed to.
    """

    check: str
    message: str
    shown: str = ""
    field: str = ""

    def to_schema(self) -> dict[str, Any]:
        """Return the rule as an item of x-kubernetes-validations."""
        schema = {"rule": self.check, "message": self.message}
        if self.shown:
            schema["messageExpression"] = self._message_expression()
        if self.field:
            schema["fieldPath"] = f".{self.field}"
        return schema

    def _message_expression(self) -> str:
        parts = list(Formatter().parse(self.shown))
        shown = "".join(text + ("" if value is None else "%s") for text, value, *_ in parts)
        values = ", ".join(value for _, value, *_ in parts if value is not None)
        # JSON and CEL write string literals the same way.
        text = json.dumps(f"{self.message} ({shown})", ensure_ascii=False)
        return f"{text}.format([{values}])"


def rules(*items: Rule, **extra: Any) -> dict[str, Any]:
    """``json_schema_extra`` of a field or a model: its rules, and further keywords of the schema."""
    return {VALIDATIONS: [item.to_schema() for item in items], **extra}


def choices(*values: str) -> dict[str, Any]:
    """``json_schema_extra`` of a text that is one of these values, which the API server lists when it is another."""
    return {"enum": list(values)}


def one_of(values: tuple[str, ...]) -> str:
    """Return a CEL list of strings."""
    return "[" + ", ".join(json.dumps(value) for value in values) + "]"
