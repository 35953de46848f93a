"""What HAProxy says in its request log of how long a request took and of the trace that it belongs to.

One field, which begins with `t/`: when the request ended, HAProxy's timers, how long the request was held, and of a
request that has a span the rest. Source: https://docs.haproxy.org/2.8/configuration.html#8.4
"""

import urllib.parse
from dataclasses import dataclass

from fairlead_spans import trace_context
from fairlead_spans.trace_context import SpanContext

MARK = "t/"
FORMAT = f"{MARK}%[date(0,us)]/%TR/%Tw/%Tc/%Tr/%Td/%Ta/%[var(txn.held_ms)]/%[var(txn.traced)]"
TRACED_FORMAT = (
    "%[var(txn.trace)]-%[var(txn.span)]-%[var(txn.trace_flags)]/%[var(txn.parent_span)]"
    "/%[req.fhdr(host),bytes(0,128),url_enc]"
)
"""The value of `txn.traced`, which a request without a span does not have."""

_NOTHING = "/-"
_TIMERS = ("receive", "wait", "connect", "respond", "transfer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A request that has a span. `timers_ms` has the parts of its time by their names, those that it came to."""

    own: SpanContext
    parent: SpanContext | None
    host: str
    ended_us: int
    active_ms: int
    held_ms: int | None
    timers_ms: dict[str, int]

    @property
    def has_replicas_answer(self) -> bool:
        """Whether the first byte of a replica's answer came."""
        return "respond" in self.timers_ms


def parse(field: str) -> Traced | None:
    """The request of such a field; None where it has no span.

    Raises:
        ValueError: the field has another form.
    """
    if field.endswith(_NOTHING):
        return None
    ended_us, *timers, active, held, context, parent, host = field.removeprefix(MARK).split("/")
    own = trace_context.read_parent({trace_context.PARENT: f"00-{context}".encode()})
    if own is None:
        raise ValueError(f"{context!r} names no span")
    return Traced(
        own=own,
        parent=_read_parent(own, parent),
        host=urllib.parse.unquote(host),
        ended_us=int(ended_us),
        active_ms=max(0, int(active)),
        held_ms=None if held == "-" else int(held),
        timers_ms={name: int(value) for name, value in zip(_TIMERS, timers, strict=True) if int(value) >= 0},
    )


def _read_parent(own: SpanContext, span_id: str) -> SpanContext | None:
    if not span_id:
        return None
    return SpanContext(trace_id=own.trace_id, span_id=bytes.fromhex(span_id), flags=own.flags)
