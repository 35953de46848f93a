"""How many requests a story counts: in a nightly run as many as it names, else a part of them.

What a story tries, such as a change of version or the death of a replica, is over after some seconds. The requests
that follow take a processor from the other tests, and show little. The figures in the documents are of nightly runs.
"""

from __future__ import annotations

from tests.support import nightly


def at_least(count: int, *, daily: int | None = None) -> int:
    """The least number of requests of a story: `count` where stories are whole, else `daily`, by default a tenth."""
    if are_whole():
        return count
    return count // 10 if daily is None else daily


def rate(whole: float) -> float:
    """Requests a second of a story whose whole rate is `whole`: a third of it goes on through all that happens, too."""
    return whole if are_whole() else whole / 3


def limit(rate: float) -> float | None:
    """Requests a second of a client that asks as fast as answers come where stories are whole (no limit: None)."""
    return None if are_whole() else rate


def are_whole() -> bool:
    """Whether stories run as the documents tell them: with all requests, and with each wait that a part may skip."""
    return nightly.is_chosen()
