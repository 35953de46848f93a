"""The difference between two JSON documents, as the API server takes it."""

from __future__ import annotations

from collections.abc import Mapping


def between(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, object] | None:
    """The JSON merge patch from one document to the other; None when they are the same.

    Source: RFC 7396. A null removes a key; lists are replaced whole.
    """
    patch: dict[str, object] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if (inner := between(before, value)) is not None:
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch or None
