"""Sends events over HTTP, each as the body of a POST: only to the sinks that the platform allows.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md, 3.2
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from fairlead_runtime import config
from fairlead_runtime.errors import LoadError, LoadReason, bare_url
from fairlead_runtime.model import http_fetch
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.fetching import allowance, credentials, outbound, secret_hosts
from fairlead_runtime.model.fetching.http_connection import Response, connecting
from fairlead_runtime.model.fetching.outbound import Outbound
from fairlead_runtime.model.fetching.purposes import PAYLOADS
from fairlead_runtime.payload_counters import Outcome
from fairlead_runtime.payloads.sink import SinkError

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
SEND_S = 5.0
"""The time of one event, from the name's lookup to the answer's head."""
ANSWER_BYTES_MAX = 64 * 1024
"""What is read of an answer. Its body is not: the status says everything."""


class HttpSink:
    """One sink. Each event has a connection of its own, which ends with it."""

    def __init__(
        self,
        url: str,
        rules: Outbound,
        trust: Callable[[], ssl.SSLContext],
        *,
        authorize: Callable[[], str | None] = lambda: None,
        send_s: float = SEND_S,
    ) -> None:
        """`authorize` gives the header with the credentials for the next event; raises LoadError."""
        self._shown = bare_url(url)
        self._parts = urlsplit(url)
        self._rules = rules
        self._trust = trust
        self._authorize = authorize
        self._tls: ssl.SSLContext | None = None
        self._bounds = Bounds(bytes_max=0, overhead_bytes_max=ANSWER_BYTES_MAX, idle_s=send_s, total_s=send_s)

    def send(self, event: bytes) -> None:
        """Deliver one event; raises SinkError."""
        with allowance.starting(self._bounds) as allowed:
            try:
                status = self._post(event, allowed)
            except (LoadError, OSError, http.client.HTTPException) as error:
                raise self._explain(error, is_late=not allowed.left_s()) from None
        if not 200 <= status < 300:
            raise self._failure(Outcome.REFUSED, f"it answered {status}")

    def _post(self, event: bytes, allowed: allowance.Allowance) -> int:
        # Not before: reading all authorities takes tens of milliseconds, which the server's loop does not have.
        self._tls = tls = self._tls or self._trust()
        authorization = self._authorize()
        with connecting(self._parts, tls, self._rules, allowed) as connection, allowed.ending(connection.sock):
            headers = {"content-type": CONTENT_TYPE, "user-agent": "fairlead-runtime", "connection": "close"}
            if authorization is not None:
                if self._parts.scheme != "https":
                    self._rules.check_credentials_in_clear(connection.peer, self._shown)
                headers["authorization"] = authorization
            connection.request("POST", self._parts.path or "/", body=event, headers=headers)
            with Response(connection.sock, allowed) as response:
                response.begin()
                # A head that the deadline cut off looks like one that is complete.
                allowed.check()
                return response.status

    def _explain(self, error: Exception, *, is_late: bool) -> SinkError:
        if is_late or isinstance(error, TimeoutError):
            return self._failure(Outcome.TIMED_OUT, "no answer in time")
        if not isinstance(error, LoadError):
            return self._failure(Outcome.UNREACHABLE, type(error).__name__)
        if error.reason is LoadReason.FETCH_FAILED:
            return self._failure(Outcome.UNREACHABLE, f"the head of its answer has more than {ANSWER_BYTES_MAX} bytes")
        is_refused = error.reason is LoadReason.MODEL_FORBIDDEN
        return self._failure(Outcome.NOT_ALLOWED if is_refused else Outcome.UNREACHABLE, error.sentence)

    def _failure(self, outcome: Outcome, why: str) -> SinkError:
        return SinkError(outcome, f"{self._shown}: {why}")


def open_sink(settings: config.Payloads) -> HttpSink:
    """The sink of a model by the rules of the platform; raises LoadError (NodeMisconfigured).

    The Secret is read for each event, so that one that is changed needs nothing else.
    """
    environment, secret = config.environment(), settings.credentials_secret_name
    known = secret_hosts.parse(environment.payload_sink_credentials, PAYLOADS)
    rules = Outbound(
        hosts=outbound.parse_hosts(environment.payload_sink_hosts, PAYLOADS),
        networks=outbound.parse_networks(environment.payload_sink_networks, PAYLOADS),
        proxy=outbound.parse_proxy(environment.https_proxy, environment.no_proxy),
        secret=None if secret is None else secret_hosts.find(secret, known, PAYLOADS),
        purpose=PAYLOADS,
    )

    def authorize() -> str | None:
        found = credentials.read(secret, environment.source_secrets_dir, PAYLOADS)
        return http_fetch.authorization(found, PAYLOADS)

    return HttpSink(settings.url, rules, lambda: http_fetch.trust(environment.ca_file), authorize=authorize)
