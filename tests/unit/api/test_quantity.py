from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api.crdgen import quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"),
        ("4", "4"),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("100n", "1e-7"),
        ("7u", "7e-6"),
        ("2k", "2000"),
        ("3M", "3000000"),
        ("1Ki", "1024"),
        ("1.5Gi", str(3 * 2**29)),
        ("2Ei", str(2**61)),
        ("1E", "1e18"),
        ("1e3", "1000"),
        ("1E-3", "0.001"),
        ("-1", "-1"),
    ],
)
def test_what_quantities_stand_for(text: str, number: str) -> None:
    assert quantity.parse(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1GB", "1gi", "1K", "1e", "one", "1Gi\n", "--1", "1.2.3"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="no Kubernetes quantity"):
        quantity.parse(text)


@given(st.integers(min_value=0, max_value=2**40), st.sampled_from(["Ki", "Mi", "Gi"]))
def test_whole_binary_sizes_are_exact(count: int, suffix: str) -> None:
    power = {"Ki": 10, "Mi": 20, "Gi": 30}[suffix]
    assert quantity.parse_bytes(f"{count}{suffix}") == count << power


def test_a_part_of_a_byte_counts_as_one() -> None:
    assert quantity.parse_bytes("1500m") == 2
