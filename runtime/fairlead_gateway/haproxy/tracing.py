"""Which requests have a span, and what the replica learns of it, as parts of `rules.cfg`. Pure.

Source: https://www.w3.org/TR/trace-context/
"""

import importlib.resources
import re
from collections.abc import Mapping

from fairlead_gateway import access_log, trace_field

_SHARES = 1_000_000_000
"""A share is kept as so many parts, and a smaller one as one of them."""

_IDS = "[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
_FORM = f"^(00-{_IDS}|(0[1-9a-f]|[1-9a-e][0-9a-f]|f[0-9a-e])-{_IDS}(-.*)?)$"
"""A later version may be longer; version ff is forbidden. `fairlead_spans.trace_context` reads the same."""

_TRACEPARENT = "http-request set-header traceparent 00-%[var(txn.trace)]-%[var(txn.span)]"


def rule_texts(percent: float | None, *, has_access_log: bool) -> Mapping[str, str]:
    """Nothing where `percent` is None; else that of the requests without a valid `traceparent` which have spans.

    A request that has no span says so to its replica, by a `traceparent` without the sampled flag: the replica would
    choose among those that say nothing. The headers are changed last, as a request that a reload hands to another
    worker has to come there as it was sent.
    """
    if percent is None:
        return dict.fromkeys(("TRACED", "TRACING", "TRACEPARENT"), "")
    values = {
        "FORM": _FORM,
        "NO_SPAN": "0" * 16,
        "NO_TRACE": "0" * 32,
        "SHARE": max(1, round(percent / 100 * _SHARES)) if percent else 0,
        "SHARES": _SHARES,
        "TRACED": trace_field.TRACED_FORMAT,
    }
    template = importlib.resources.files(__package__).joinpath("tracing.cfg").read_text()
    decided = re.sub("@([A-Z_]+)@", lambda match: str(values[match[1]]), template)
    described = f'  http-request set-var-fmt(txn.described) "{access_log.FORMAT}" if is_sampled\n'
    return {
        "TRACED": f" {trace_field.FORMAT}" + ("" if has_access_log else " %[var(txn.described)]"),
        "TRACING": decided + ("" if has_access_log else described),
        "TRACEPARENT": f"""  # The replica's span is below that of the gateway. Only a trace that goes on has a state.
  http-request del-header tracestate if begins_trace !is_replaced
  {_TRACEPARENT}-%[var(txn.trace_flags)] if is_sampled !is_replaced
  {_TRACEPARENT}-00 if begins_trace !is_sampled !is_replaced
""",
    }
