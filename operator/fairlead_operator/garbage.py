"""How often the process collects garbage."""

from __future__ import annotations

import gc

COLLECTION_THRESHOLDS = (20_000, 20, 20)
"""Of the three generations, as `gc.set_threshold` takes them."""


def collect_seldom() -> None:
    """Leave what was imported out of every garbage collection, and begin one less often.

    What a pass makes is freed by reference counts. Collections took a tenth of the processor time of a rollout.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTION_THRESHOLDS)
