"""What Prometheus has on the drift of a namespace's models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ATTRIBUTION = "attribution"
"""The feature whose bins are the parts of the input that decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifting:
    """A feature for which an alert on drift fires, in a window of time.

    ``proved`` is the share of the rows that is proved to lie in other bins, from 0 to 1, when it was found; it may be
    negative where an alert lasts a little longer than what it is about.
    """

    feature: str
    window: str
    proved: float


ByRevision = Mapping[str, Drifting | None]
"""The revisions of a model whose rows are compared with reference statistics; None where no alert fires."""
