"""Kubernetes quantities as Ray's numbers."""

from __future__ import annotations

_BYTES = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 10**3, "M": 10**6, "G": 10**9}


def cpus(quantity: str) -> float:
    """``500m`` is 0.5; the schema allows thousandths and whole numbers with at most three places."""
    return int(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def memory_bytes(quantity: str) -> int:
    """``512Mi`` is 536870912."""
    for suffix, factor in _BYTES.items():
        if quantity.endswith(suffix):
            return int(quantity.removesuffix(suffix)) * factor
    return int(quantity)
