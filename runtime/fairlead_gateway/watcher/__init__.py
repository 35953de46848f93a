"""Where the route table comes from: the ConfigMap of the gateway's namespace, or a local file.

A source yields the whole data each time it may have changed. What could not be read is not absent: a source that fails
yields nothing, and only a positive answer that there is no table is an empty one.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

Data = Mapping[str, str]


class Source(Protocol):
    """Yields the table's data, first as it is and then whenever it may have changed."""

    def follow(self) -> AsyncIterator[Data]: ...
