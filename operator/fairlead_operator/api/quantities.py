"""Kubernetes quantities, as far as a replica's resources need them.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import decimal

CPU = r"^([1-9][0-9]{0,6}m|[0-9]{1,4}([.][0-9]{1,3})?)$"
MEMORY = r"^[1-9][0-9]{0,15}(Ki|Mi|Gi|Ti|k|M|G|T)?$"

_FACTORS = {
    "m": decimal.Decimal("0.001"),
    "k": decimal.Decimal(10**3),
    "M": decimal.Decimal(10**6),
    "G": decimal.Decimal(10**9),
    "T": decimal.Decimal(10**12),
    "Ki": decimal.Decimal(2**10),
    "Mi": decimal.Decimal(2**20),
    "Gi": decimal.Decimal(2**30),
    "Ti": decimal.Decimal(2**40),
}


def parse(quantity: str) -> decimal.Decimal:
    """The quantity's value in its base unit (cores, bytes)."""
    number = quantity.rstrip("mkKMGTi")
    suffix = quantity[len(number) :]
    return decimal.Decimal(number) * _FACTORS.get(suffix, decimal.Decimal(1))
