"""The one table from what went wrong to its HTTP code."""

from __future__ import annotations

from types import MappingProxyType

from fairlead_runtime.errors import RequestReason

HTTP = MappingProxyType(
    {
        RequestReason.MALFORMED: 400,
        RequestReason.INVALID_INPUT: 400,
        RequestReason.COPY_REFUSED: 403,
        RequestReason.FEEDBACK_REFUSED: 403,
        RequestReason.UNKNOWN_PATH: 404,
        RequestReason.UNKNOWN_MODEL: 404,
        RequestReason.WRONG_METHOD: 405,
        RequestReason.SLOW_CLIENT: 408,
        RequestReason.REPLICA_GONE: 410,
        RequestReason.TOO_LARGE: 413,
        RequestReason.URL_TOO_LONG: 414,
        RequestReason.UNKNOWN_ENCODING: 415,
        RequestReason.EXPECTATION: 417,
        RequestReason.GUARDED: 422,
        # The gateway reached a port that another replica has taken since. 425: the one code that HAProxy sends again
        # elsewhere (`retry-on 425`) and that no model answers with.
        RequestReason.WRONG_REPLICA: 425,
        # Not 503: predictions of the same replica go on.
        RequestReason.EXPLANATIONS_FULL: 429,
        RequestReason.HEADERS_TOO_LARGE: 431,
        RequestReason.UNKNOWN_METHOD: 501,
        RequestReason.MODEL_FAILED: 500,
        RequestReason.INTERNAL: 500,
        RequestReason.QUEUE_FULL: 503,
        RequestReason.NOT_READY: 503,
        RequestReason.STAGE_GONE: 503,
        RequestReason.DRAINING: 503,
        RequestReason.FEEDBACK_OFF: 503,
        RequestReason.DEADLINE: 504,
    }
)
RETRY_AFTER_S = MappingProxyType(
    {
        RequestReason.QUEUE_FULL: 1,
        RequestReason.EXPLANATIONS_FULL: 1,
        RequestReason.NOT_READY: 1,
        RequestReason.STAGE_GONE: 1,
        RequestReason.DRAINING: 1,
    }
)
PHRASES = MappingProxyType(
    {
        200: "OK",
        400: "Bad Request",
        403: "Forbidden",
        404: "Not Found",
        405: "Method Not Allowed",
        408: "Request Timeout",
        410: "Gone",
        413: "Content Too Large",
        414: "URI Too Long",
        415: "Unsupported Media Type",
        417: "Expectation Failed",
        422: "Unprocessable Content",
        425: "Too Early",
        429: "Too Many Requests",
        431: "Request Header Fields Too Large",
        500: "Internal Server Error",
        501: "Not Implemented",
        503: "Service Unavailable",
        504: "Gateway Timeout",
    }
)
