"""The trace that a request belongs to, from its headers. Source: https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PARENT = b"traceparent"
STATE = b"tracestate"
STATE_BYTES_MAX = 512
STATE_MEMBERS_MAX = 32
SAMPLED = 1
_PARENT_BYTES = 55
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_MEMBER = re.compile(
    rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanContext:
    """A span of another program, or one that another program continues from."""

    trace_id: bytes
    span_id: bytes
    flags: int

    @property
    def is_sampled(self) -> bool:
        """Whether spans of this trace are to be recorded."""
        return bool(self.flags & SAMPLED)


def read_parent(headers: Mapping[bytes, bytes]) -> SpanContext | None:
    """The parent that a request names; None where it names none, or in a form that isn't valid: a new trace begins."""
    value = headers.get(PARENT)
    if value is None:
        return None
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace, span, flags, _ = found.groups()
    # A later version may be longer; its first four parts mean the same. Version ff is forbidden.
    if version == b"ff" or (version == b"00" and len(value) != _PARENT_BYTES):
        return None
    trace_id, span_id = bytes.fromhex(trace.decode()), bytes.fromhex(span.decode())
    if not any(trace_id) or not any(span_id):
        return None
    return SpanContext(trace_id=trace_id, span_id=span_id, flags=int(flags, 16))


def read_state(headers: Mapping[bytes, bytes]) -> str:
    """What tracing systems passed on beside the parent; empty where it is not valid, which doesn't touch the trace."""
    value = headers.get(STATE, b"")
    if not value or len(value) > STATE_BYTES_MAX:
        return ""
    members = [member.strip(b" \t") for member in value.split(b",")]
    members = [member for member in members if member]
    keys = {member.partition(b"=")[0] for member in members}
    is_valid = len(keys) == len(members) <= STATE_MEMBERS_MAX and all(map(_MEMBER.fullmatch, members))
    return b",".join(members).decode() if is_valid else ""
