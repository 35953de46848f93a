from __future__ import annotations

import re

import pytest

from fairlead_operator.api import quantities


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("500m", 0.5),
        ("2", 2),
        ("0.25", 0.25),
        ("512Mi", 512 * 2**20),
        ("1Gi", 2**30),
        ("1k", 1000),
        ("3M", 3_000_000),
        ("2G", 2_000_000_000),
        ("1T", 10**12),
        ("16Ti", 16 * 2**40),
        ("1073741824", 2**30),
    ],
)
def test_a_quantity_has_the_value_that_kubernetes_gives_it(quantity: str, value: float) -> None:
    assert quantities.parse(quantity) == value


@pytest.mark.parametrize("text", ["", "m", "-1", "1e3", "1.5Gi", "512MB", "1 Gi", "0", "01Mi"])
def test_other_forms_are_not_memory(text: str) -> None:
    assert re.search(quantities.MEMORY, text) is None


@pytest.mark.parametrize("text", ["", "m", "-1", "1e3", "0m", "0.0001", "1.", ".5", "two"])
def test_other_forms_are_not_cpu(text: str) -> None:
    assert re.search(quantities.CPU, text) is None
