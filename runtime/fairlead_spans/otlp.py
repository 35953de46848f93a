"""Answered requests as the message that a collector takes, and what it answers.

Source: https://github.com/open-telemetry/opentelemetry-proto
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from fairlead_spans import trace_context
from fairlead_spans.span import AnsweredRequest, Value

SCOPE = "fairlead"
_HAS_IS_REMOTE = trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_IS_REMOTE = trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


def write(resource: Mapping[str, Value], requests: Iterable[AnsweredRequest]) -> bytes:
    """The body of one export: `resource` describes the program that sends it.

    Other threads get the interpreter's lock between two requests.
    """
    message = trace_service_pb2.ExportTraceServiceRequest()
    sent = message.resource_spans.add()
    sent.resource.attributes.extend(_attributes(resource))
    scope = sent.scope_spans.add()
    scope.scope.name = SCOPE
    for request in requests:
        scope.spans.extend(_spans(request))
        time.sleep(0)
    body: bytes = message.SerializeToString()
    return body


def read_refused(body: bytes) -> tuple[int, str]:
    """How many spans a collector that answered 200 has refused, and why."""
    answer = trace_service_pb2.ExportTraceServiceResponse()
    try:
        answer.ParseFromString(body)
    except DecodeError:
        return 0, ""
    return max(0, answer.partial_success.rejected_spans), answer.partial_success.error_message


def _spans(request: AnsweredRequest) -> list[trace_pb2.Span]:
    """The server's span and one for each phase below it."""
    parent = request.parent
    known = request.own or parent
    trace_id = os.urandom(16) if known is None else known.trace_id
    flags = (trace_context.SAMPLED if known is None else known.flags) | _HAS_IS_REMOTE
    own = trace_pb2.Span(
        trace_id=trace_id,
        span_id=os.urandom(8) if request.own is None else request.own.span_id,
        trace_state=request.state,
        parent_span_id=b"" if parent is None else parent.span_id,
        flags=flags if parent is None else flags | _IS_REMOTE,
        name=request.name,
        kind=trace_pb2.Span.SPAN_KIND_SERVER,
        start_time_unix_nano=_wall_ns(request, request.arrived_s),
        end_time_unix_nano=request.ended_ns,
        attributes=_attributes(request.attributes),
    )
    if request.status >= 500:
        own.status.code = trace_pb2.Status.STATUS_CODE_ERROR
    phases = [
        trace_pb2.Span(
            trace_id=trace_id,
            span_id=os.urandom(8),
            trace_state=request.state,
            parent_span_id=own.span_id,
            flags=flags,
            name=phase.name,
            kind=trace_pb2.Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=_wall_ns(request, phase.begun_s),
            end_time_unix_nano=_wall_ns(request, phase.ended_s),
        )
        for phase in request.phases
    ]
    return [own, *phases]


def _wall_ns(request: AnsweredRequest, counted_s: float) -> int:
    return request.ended_ns - round((request.ended_s - counted_s) * 1e9)


def _attributes(given: Mapping[str, Value]) -> list[common_pb2.KeyValue]:
    return [common_pb2.KeyValue(key=key, value=_value(value)) for key, value in given.items()]


def _value(value: Value) -> common_pb2.AnyValue:
    match value:
        case bool():
            return common_pb2.AnyValue(bool_value=value)
        case int():
            return common_pb2.AnyValue(int_value=value)
        case str():
            return common_pb2.AnyValue(string_value=value)
