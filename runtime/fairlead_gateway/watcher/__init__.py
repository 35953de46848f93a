"""Where routes come from: the ModelRoutes of the gateway's namespace, or a local file.

A source yields all specs each time they may have changed. What could not be read is not absent: a source that fails
yields nothing and tries again.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

Data = Mapping[str, str]
"""The spec of each model's route, as JSON."""


class Source(Protocol):
    """A place where the specs of routes are read."""

    def follow(self) -> AsyncIterator[Data]:
        """All specs now, and again whenever they may have changed. Never ends and never raises; cancel it to stop."""
        ...
