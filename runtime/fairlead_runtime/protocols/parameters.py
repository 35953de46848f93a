"""Which parameters a request of the Open Inference Protocol may carry: none is taken and then ignored."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead_runtime.errors import RequestError, RequestReason

DESCRIPTIVE = frozenset({"content_type"})
"""Says what the datatype says already; clients of MLServer send it with each tensor."""


def refuse_unknown(what: str, given: Iterable[str], known: frozenset[str] = frozenset()) -> None:
    """Raises RequestError for a parameter that is neither known nor descriptive."""
    unknown = sorted(set(given) - known - DESCRIPTIVE)
    if unknown:
        text = f"{what}: the parameter {unknown[0][:64]!r} is not supported; leave it out"
        raise RequestError(RequestReason.INVALID_INPUT, text)
