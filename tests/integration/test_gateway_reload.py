"""A request that a reload of HAProxy overtakes is decided by the tables of the worker that took over."""

from __future__ import annotations

import http.client
import itertools
from pathlib import Path

import pytest
from tests.support.gateway_process import Gateway, gateway_and_replicas, revision, spec
from tests.support.until import until

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
REVISIONS = {A: revision(), B: revision()}
BODY = b"{}"


def test_a_request_whose_body_comes_after_a_reload_is_routed_by_the_new_worker(tmp_path: Path) -> None:
    """HAProxy waits 10 s for a body. If the reload takes longer, the test sends the request again."""
    with gateway_and_replicas(tmp_path) as (gateway, replicas):
        replicas.start("digits", A)
        replicas.start("digits", B)
        gateway.apply(digits=spec(A, REVISIONS, candidate=B))
        for name in (A, B):
            gateway.wait_up("digits", name)

        answers = (_ask_across_a_reload(gateway, f"x-group-{number}") for number in itertools.count())
        status, served = next(found for found in itertools.islice(answers, 10) if found[0] != 408)

        assert (status, served) == (200, B)


def _ask_across_a_reload(gateway: Gateway, header: str) -> tuple[int, str | None]:
    """The status, and the revision that answers a request with this header. Its match comes after the request's head.

    The worker before the reload has no rule for the header, so it sends the request to the stable revision.
    """
    connection = http.client.HTTPConnection("127.0.0.1", gateway.data_port, timeout=60)
    try:
        connection.putrequest("POST", "/v2/models/digits/infer")
        connection.putheader("content-length", str(len(BODY)))
        connection.putheader(header, "beta")
        connection.endheaders()
        workers = set(gateway.workers())
        match = [{"header": header, "value": "beta"}]
        gateway.apply(digits=spec(A, REVISIONS, candidate=B, match=match))
        until(lambda: set(gateway.workers()) - workers, "another worker")
        connection.send(BODY)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("x-fairlead-revision")
    finally:
        connection.close()
