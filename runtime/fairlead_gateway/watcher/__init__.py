"""Where routes come from: the ModelRoutes of the gateway's namespace, or a local file.

A source yields the whole data each time it may have changed. What could not be read is not absent: a source that fails
yields nothing.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

Data = Mapping[str, str]
"""The spec of each model's route, as JSON."""


class Source(Protocol):
    """Yields the data, first as they are and then whenever they may have changed."""

    def follow(self) -> AsyncIterator[Data]: ...
