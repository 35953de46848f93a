"""How much a model may take, on the wire, on the disk and as files, and which operations it may contain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits on a fetch; an archive's ratio counts only past `ratio_free_bytes`: some text shrinks a hundredfold.

    `overhead_bytes_max` are bytes on the wire that are not content: listings, heads, errors. `operations` are those of
    TensorFlow that the platform allows beside the ones of `allowed_ops.txt`.
    """

    bytes_max: int
    entries_max: int = 10_000
    ratio_max: int = 100
    ratio_free_bytes: int = 16 * 1024 * 1024
    overhead_bytes_max: int = 64 * 1024 * 1024
    idle_s: float = 20
    total_s: float = 900
    operations: frozenset[str] = frozenset()
