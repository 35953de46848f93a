"""The answer of a node's directory: what replicas write and what gateways read is one text, kept in a file."""

from __future__ import annotations

from pathlib import Path

from fairlead_gateway.nodes import directory
from fairlead_runtime.discovery import entry
from fairlead_runtime.discovery.entry import Entry, Replica, State

ANSWER = Path(__file__).resolve().parents[1] / "data" / "node_directory" / "answer.json"
ENTRIES = (
    Entry(
        replica=Replica(
            name="3f0c9a1b2d-0123456789abcdef", namespace="default", model="digits", revision="3f0c9a1b2d", port=40001
        ),
        state=State.READY,
    ),
    Entry(
        replica=Replica(
            name="3f0c9a1b2d-fedcba9876543210", namespace="default", model="digits", revision="3f0c9a1b2d", port=1
        ),
        state=State.DRAINING,
    ),
    Entry(
        replica=Replica(
            name="7ab0c9d1e2-0123456789abcdef", namespace="team-b", model="cats", revision="7ab0c9d1e2", port=65535
        ),
        state=State.READY,
    ),
)


def test_replicas_answer_exactly_as_in_the_file() -> None:
    assert entry.answer("default/main", ENTRIES, version="0123456789abcdef") == ANSWER.read_bytes().strip()


def test_a_gateway_reads_the_replicas_of_its_namespace_from_the_file() -> None:
    found = directory.parse(ANSWER.read_bytes(), namespace="default", cluster="main")
    assert (found.version, found.refused) == ("0123456789abcdef", 0)
    own = [each for each in ENTRIES if each.replica.namespace == "default"]
    assert found.replicas == {
        each.replica.name: directory.Replica(
            name=each.replica.name,
            model=each.replica.model,
            revision=each.replica.revision,
            port=each.replica.port,
            state=directory.State(each.state.value),
        )
        for each in own
    }


def test_replica_and_gateway_have_the_same_limits() -> None:
    assert (directory.REPLICAS_MAX, directory.BODY_BYTES_MAX) == (entry.REPLICAS_MAX, 1024 * 1024)
