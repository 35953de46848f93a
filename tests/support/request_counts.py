"""How many requests a story counts: as many as it names with ``FAIRLEAD_REQUESTS=all``, else a part of them.

What a story tries, such as a change of version or the death of a replica, is over after some seconds. The requests
that follow take a processor from the other tests, and show little. ``all`` is for the figures in the documents.
"""

from __future__ import annotations

import os

_PART = 5
_SWITCH = "FAIRLEAD_REQUESTS"


def at_least(count: int) -> int:
    """The least number of requests of a story whose whole number is `count`.

    Raises:
        ValueError: the variable is neither `all` nor unset.
    """
    return count if are_whole() else count // _PART


def are_whole() -> bool:
    """Whether stories run as the documents tell them: with all requests, and with each wait that a part may skip.

    Raises:
        ValueError: the variable is neither `all` nor unset.
    """
    chosen = os.environ.get(_SWITCH, "")
    if chosen not in ("", "all"):
        raise ValueError(f"{_SWITCH} must be 'all' or unset, not {chosen!r}")
    return chosen == "all"
