"""What a read can say. UNKNOWN is a value: what could not be read is not absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Known(Generic[T_co]):
    """The read succeeded and this is what it said."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Absent:
    """The read succeeded and said that there is none."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The read failed or its answer proves nothing; ``reason`` is a sentence a person can act on."""

    reason: str


ABSENT = Absent()
UNREAD = Unknown("it was not read")
