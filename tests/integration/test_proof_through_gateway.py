"""The operator's client asks a replica for its proof through a real gateway; clients' numbers don't move."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import replica_parts
from tests.support.gateway_process import Gateway, fetch, make_node, revision, spec
from tests.support.until import until

from fairlead_operator.clients import clock, errors, http
from fairlead_operator.clients.gateway import GatewayClient, ProofOutcome

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path / "gateway", nodes=[make_node(tmp_path / "node")])
    made.start()
    yield made
    made.stop()


def proofs(gateway: Gateway, name: str) -> float:
    return gateway.metric("fairlead_gateway_proofs_total", code="200", model="digits", revision=name)


def metadata_requests(gateway: Gateway, name: str) -> float:
    return gateway.metric("fairlead_gateway_metadata_requests_total", code="200", model="digits", revision=name)


async def test_a_proof_reaches_its_revision_and_does_not_count_as_a_client_request(gateway: Gateway) -> None:
    client = http.HttpClient(clock=clock.SystemClock())
    ours = GatewayClient(http_client=client, on_request=lambda *_: None)
    signature = replica_parts.float_signature(rows=None)
    setting = replica_parts.Setting(signature=signature, revision=A, node=gateway.nodes[0])
    with replica_parts.running(setting):
        # The route takes bodies of 64 bytes: a proof has none.
        gateway.apply(digits=spec(A, {A: revision()}, maxRequestBytes=64))
        gateway.wait_up("digits", A)

        report = await ours.prove(gateway.url, "digits", A, timeout_s=10)
        assert (report.outcome, report.digest) == (ProofOutcome.PROVED, replica_parts.DIGEST)
        assert (await ours.fetch_signature(gateway.url, "digits", A)) == report.signature
        with pytest.raises(errors.Unreachable, match="no version bbbbbbbbbb"):
            await ours.prove(gateway.url, "digits", B, timeout_s=10)
        unpinned = fetch(f"{gateway.url}/v2/models/digits/proof", body=b"")
        assert (unpinned.status, "x-fairlead-revision" in json.loads(unpinned.text)["error"]) == (400, True)

        until(lambda: proofs(gateway, A) == 1, "the proof is counted apart")
        until(lambda: metadata_requests(gateway, A) == 1, "the signature was read by one GET, which is counted apart")
        assert gateway.measurements("digits")["revisions"][A]["requests"]["total"] == 0
        assert gateway.measurements("digits")["revisions"][A]["scores"]["counts"] == []
    await client.close()
