"""The gateway reads the counts of replicas and reports them by revision: real agent, HAProxy and replica servers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import replica_parts
from tests.support.gateway_process import Gateway, fetch, make_node, revision, spec
from tests.support.until import until

from fairlead_runtime.config import NodeEnvironment

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
ROW = [0.1, 0.2, 0.9, 0.3]


def replica(name: str, node: NodeEnvironment) -> contextlib.AbstractContextManager[replica_parts.Running]:
    signature = replica_parts.float_signature(rows=None)
    return replica_parts.running(replica_parts.Setting(signature=signature, revision=name, node=node))


def predict(gateway: Gateway, name: str) -> str:
    """A prediction of this revision; its feedback token."""
    body = json.dumps({"instances": [ROW]}).encode()
    answer = fetch(f"{gateway.url}/v1/models/digits:predict", body=body, headers={"x-fairlead-revision": name})
    assert (answer.status, answer.headers["x-fairlead-revision"]) == (200, name)
    return answer.headers["x-fairlead-feedback"]


def send_label(gateway: Gateway, token: str, label: int) -> None:
    body = json.dumps({"token": token, "label": label}).encode()
    answer = fetch(f"{gateway.url}/v2/models/digits/feedback", body=body, headers={"x-fairlead-feedback": token})
    assert answer.status == 200, answer.text


@pytest.fixture
def node(tmp_path: Path) -> NodeEnvironment:
    return make_node(tmp_path / "node")


@pytest.fixture
def gateway(tmp_path: Path, node: NodeEnvironment) -> Iterator[Gateway]:
    made = Gateway(tmp_path / "gateway", nodes=[node])
    made.start()
    yield made
    made.stop()


def test_labels_and_scores_outlive_the_replica_that_counted_them(gateway: Gateway, node: NodeEnvironment) -> None:
    def labels_of(name: str) -> dict[str, int]:
        return dict(gateway.measurements("digits")["revisions"][name]["feedback"])

    def scores(name: str) -> int:
        return sum(gateway.measurements("digits")["revisions"][name]["scores"]["counts"])

    with replica(B, node):
        with replica(A, node):
            gateway.apply(digits=spec(A, {A: revision(), B: revision()}, candidate=B))
            for name in (A, B):
                gateway.wait_up("digits", name)
            before = scores(B)

            for label in (2, 2, 1):
                send_label(gateway, predict(gateway, B), label)
            until(lambda: labels_of(B) == {"labelled": 3, "correct": 2}, "the candidate's labels")

        assert labels_of(B) == {"labelled": 3, "correct": 2}
        assert labels_of(A) == {"labelled": 0, "correct": 0}
        assert scores(B) - before == 3


def test_each_label_is_counted_that_is_sent_once_the_route_with_two_revisions_is_live(
    gateway: Gateway, node: NodeEnvironment
) -> None:
    with replica(A, node), replica(B, node):
        gateway.apply(digits=spec(A, {A: revision()}))
        gateway.wait_up("digits", A)
        for _ in range(3):
            send_label(gateway, predict(gateway, A), 2)

        gateway.apply(digits=spec(A, {A: revision(), B: revision()}, candidate=B))
        send_label(gateway, predict(gateway, A), 2)
        gateway.wait_up("digits", B)
        send_label(gateway, predict(gateway, B), 1)

        def counted() -> dict[str, dict[str, int]]:
            revisions = gateway.measurements("digits")["revisions"]
            return {name: dict(revisions[name]["feedback"]) for name in (A, B)}

        expected = {A: {"labelled": 1, "correct": 1}, B: {"labelled": 1, "correct": 0}}
        until(lambda: counted() == expected, "each label is counted", explain=counted)
