"""Which trace a request continues, and that a parent in no valid form begins a new one."""

from __future__ import annotations

import pytest
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fairlead_spans import trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"
INVALID = (
    "",
    "00",
    VALID[:-1],
    VALID + "0",
    VALID + "-more",
    f"ff-{TRACE}-{SPAN}-01",
    f"ff-{TRACE}-{SPAN}-01-more",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    VALID.upper(),
    f"00-{TRACE}-{SPAN}-0x",
    f"0x-{TRACE}-{SPAN}-01",
    f" {VALID}",
    f"{VALID},{VALID}",
    f"{VALID}\n",
    f"00_{TRACE}_{SPAN}_01",
    f"01-{TRACE}-{SPAN}-01more",
    "0" * 10_000,
    "-" * 10_000,
    VALID + "-" * 10_000,
)


def test_a_valid_parent_is_read_with_its_flag() -> None:
    parent = trace_context.read_parent({b"traceparent": VALID.encode()})
    assert parent is not None
    assert (parent.trace_id.hex(), parent.span_id.hex(), parent.is_sampled) == (TRACE, SPAN, True)
    for flags, is_sampled in (("00", False), ("02", False), ("03", True), ("ff", True)):
        parent = trace_context.read_parent({b"traceparent": f"00-{TRACE}-{SPAN}-{flags}".encode()})
        assert parent is not None
        assert parent.is_sampled is is_sampled


@pytest.mark.parametrize("value", INVALID, ids=lambda value: f"{value[:70]!r} of {len(value)}")
def test_a_parent_in_no_valid_form_is_none(value: str) -> None:
    assert trace_context.read_parent({b"traceparent": value.encode()}) is None


def test_a_later_version_may_be_longer() -> None:
    for value in (f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes-later", f"01-{TRACE}-{SPAN}-01-"):
        parent = trace_context.read_parent({b"traceparent": value.encode()})
        assert parent is not None
        assert parent.trace_id.hex() == TRACE


@pytest.mark.parametrize("value", [VALID, *INVALID], ids=lambda value: f"{value[:70]!r} of {len(value)}")
def test_opentelemetry_itself_reads_the_same(value: str) -> None:
    """But for a blank or a line's end around it, which no header's value has."""
    if value != value.strip():
        return
    theirs = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": value})).get_span_context()
    ours = trace_context.read_parent({b"traceparent": value.encode()})
    assert theirs.is_valid == (ours is not None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("vendor=1", "vendor=1"),
        ("a=1,b@c=2", "a=1,b@c=2"),
        (" a=1 , ,b=2\t", "a=1,b=2"),
        ("", ""),
        ("no equals sign", ""),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a=\x01", ""),
        ("a=" + "1" * 257, ""),
        (",".join(f"k{i}=1" for i in range(33)), ""),
        ("a=1," * 1000, ""),
    ],
)
def test_a_state_that_is_not_valid_is_left_out(given: str, kept: str) -> None:
    assert trace_context.read_state({b"tracestate": given.encode()}) == kept
