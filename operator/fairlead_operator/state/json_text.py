"""JSON as text: the canonical form, and objects that are kept as it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from typing_extensions import override


class KeptJson(Mapping[str, Any]):
    """One of many JSON objects, read seldom: its text takes a fifth of the memory of its values.

    Each access parses the text, so more than one key is read from ``plain``. Two of these are equal where their texts
    are: 1 and 1.0 differ.
    """

    __slots__ = ("text",)

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.text = canonical_json(plain(value))

    def unpack(self) -> dict[str, Any]:
        """A copy, which may be changed."""
        made: dict[str, Any] = json.loads(self.text)
        return made

    @override
    def __getitem__(self, key: str) -> Any:
        return self.unpack()[key]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self.unpack())

    @override
    def __len__(self) -> int:
        return len(self.unpack())

    @override
    def __eq__(self, other: object) -> bool:
        if isinstance(other, KeptJson):
            return self.text == other.text
        return isinstance(other, Mapping) and self.unpack() == other

    __hash__ = None  # type: ignore[assignment]  # as of every other mapping

    @override
    def __repr__(self) -> str:
        return f"KeptJson({self.text.decode()})"


def plain(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same mapping, parsed if it is kept as text."""
    return value.unpack() if isinstance(value, KeptJson) else value


def canonical_json(value: object) -> bytes:
    """The same value gives the same bytes: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
