"""A refusal as an answer: both protocols give errors as `{"error": "…"}`."""

from __future__ import annotations

from fairlead_runtime.errors import RequestError, RequestReason, WrongMethodError
from fairlead_runtime.protocols import status_codes
from fairlead_runtime.protocols.http import Headers, Response, dump


def answer(error: RequestError) -> Response:
    """The HTTP answer for an error: its status code and `{"error": sentence}`."""
    wait_s = status_codes.RETRY_AFTER_S.get(error.reason)
    headers: Headers = ((b"retry-after", str(wait_s).encode()),) if wait_s is not None else ()
    if isinstance(error, WrongMethodError):
        # Source: RFC 9110, 15.5.6
        headers = ((b"allow", error.allowed.encode()),)
    if error.reason is RequestReason.UNKNOWN_ENCODING:
        # Source: RFC 9110, 15.5.16
        headers = ((b"accept-encoding", b"gzip, deflate, identity"),)
    return Response(status=status_codes.HTTP[error.reason], body=dump({"error": error.sentence}), headers=headers)
