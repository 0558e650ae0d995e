"""Kubernetes quantities as exact numbers: ``500m`` is 1/2, ``1Gi`` is 2**30, ``1e3`` is 1000.

Used by the operator after the API server has admitted an object; ``quantity_rules`` are the checks that it does.
"""

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from llama_operator.api.crdgen.rules import Rule

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_FORM = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?:(?P<suffix>[KMGTPE]i|[numkMGTPE]?)|[eE](?P<exponent>[+-]?\d+))"
)


@lru_cache(maxsize=4096)  # the pods of a whole cluster ask for the same few amounts
def parse(text: str) -> Decimal:
    """Return the number that ``text`` stands for.

    Raises:
        ValueError: ``text`` is no quantity.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(f"{text!r} is no Kubernetes quantity, such as 500m, 4 or 16Gi")
    number = Decimal(form["number"])
    if form["exponent"] is not None:
        return number.scaleb(int(form["exponent"]))
    suffix = form["suffix"]
    if suffix in _BINARY:
        return number * Decimal(1024 ** _BINARY[suffix])
    return number.scaleb(_DECIMAL[suffix])


def parse_bytes(text: str) -> int:
    """Bytes, rounded up to a whole one. Raises ValueError as ``parse`` does."""
    return int(parse(text).to_integral_value(ROUND_CEILING))


def quantity_rules(*, field: str, lowest: str, highest: str, hint: str) -> tuple[Rule, Rule]:
    """Rules of a quantity field: it parses and lies between two bounds, so it is not zero, negative or too large."""
    number = "quantity(string(self))"
    is_quantity = "isQuantity(string(self))"
    between = f"{number}.compareTo(quantity('{lowest}')) >= 0 && {number}.compareTo(quantity('{highest}')) <= 0"
    return (
        Rule(is_quantity, f"{field} must be a Kubernetes quantity such as {hint}"),
        Rule(f"!{is_quantity} || ({between})", f"{field} must lie between {lowest} and {highest}, such as {hint}"),
    )
