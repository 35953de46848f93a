"""A node's page of metrics: all replicas, valid for Prometheus, whatever one of them answers."""

from __future__ import annotations

import contextlib
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support import node_members, replica_parts
from tests.support.odd_replica import answer, odd_replica

from fairlead_runtime.discovery import scrape
from fairlead_runtime.metrics import ReplicaMetrics

OWN = {"namespace": "shop", "model": "digits", "revision": "3f0c9a1b2d"}
A, B = "3f0c9a1b2d-0000000000000001", "3f0c9a1b2d-0000000000000002"


def page_of(name: str, *, answers: int = 0) -> bytes:
    metrics = ReplicaMetrics({**OWN, "replica": name})
    for _ in range(answers):
        metrics.count_answer("v2", 200, 0.01)
    return metrics.text()


def series(page: bytes) -> dict[tuple[str, str], float]:
    """Each sample by its name and its replica; families have to be whole, which the parser doesn't check."""
    found: dict[tuple[str, str], float] = {}
    names = []
    for family in text_string_to_metric_families(page.decode()):
        names.append(family.name)
        for sample in family.samples:
            key = sample.labels.get("replica") or sample.labels["state"]
            found[sample.name, key] = found.get((sample.name, key), 0) + sample.value
    assert len(names) == len(set(names))
    return found


def test_the_series_of_all_replicas_are_on_one_page() -> None:
    found = series(scrape.merged({A: page_of(A, answers=1), B: page_of(B, answers=2)}))
    assert found["fairlead_replica_requests_total", A] == 1
    assert found["fairlead_replica_requests_total", B] == 2
    assert found["fairlead_replica_request_duration_seconds_count", B] == 2
    whole = {name for name, key in found if key == A}
    assert whole == {name for name, key in series(page_of(A, answers=1)) if key == A}


def test_a_replica_that_does_not_answer_is_counted_and_costs_the_others_nothing() -> None:
    found = series(scrape.merged({A: page_of(A, answers=1), B: None}))
    assert found["fairlead_replica_requests_total", A] == 1
    assert (found["fairlead_replica_pages", "Read"], found["fairlead_replica_pages", "Unread"]) == (1, 1)
    assert series(scrape.merged({}))["fairlead_replica_pages", "Read"] == 0


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'fairlead_replica_x{replica="%s"} 1' % B.encode(), id="another replica's name"),
        pytest.param(b'fairlead_replica_x{model="a,replica=\\"%s\\""} 1' % A.encode(), id="its name in a value"),
        pytest.param(b'fairlead_operator_lease_held{replica="%s"} 1' % A.encode(), id="another program's metric"),
        pytest.param(b'fairlead_replica_x{replica="%s"} one' % A.encode(), id="no number"),
        pytest.param(b'fairlead_replica_x{replica="%s",model="} 1' % A.encode(), id="an open quote"),
        pytest.param(b'fairlead_replica_x{replica="%s"} 1 1700000000000' % A.encode(), id="a time"),
        pytest.param(b'fairlead_replica_pages{state="Read",replica="%s"} 9' % A.encode(), id="the node's own"),
        pytest.param(b"\x00\xff{", id="bytes"),
    ],
)
def test_a_line_that_is_not_the_replicas_is_left_out(line: bytes) -> None:
    declared = b"# TYPE fairlead_replica_x gauge\n# TYPE fairlead_operator_lease_held gauge\n# TYPE %s gauge\n" % (
        scrape.PAGES.encode()
    )
    page = scrape.merged({A: page_of(A) + declared + line + b"\n"})
    assert page == scrape.merged({A: page_of(A)})


def test_a_series_that_is_there_twice_is_shown_once() -> None:
    page = page_of(A, answers=1)
    assert scrape.merged({A: page + page}) == scrape.merged({A: page})


def test_the_nodes_directory_shows_the_metrics_of_its_replicas(tmp_path: Path) -> None:
    node = node_members.node(tmp_path)
    names = ("aaaaaaaaaa", "bbbbbbbbbb")
    with contextlib.ExitStack() as stack:
        for revision in names:
            stack.enter_context(replica_parts.running(replica_parts.Setting(revision=revision, node=node)))
        stack.enter_context(odd_replica(lambda _: None, node=node, revision="cccccccccc"))
        stack.enter_context(odd_replica(lambda _: answer(b"x" * (1 << 20)), node=node, revision="dddddddddd"))
        url = f"http://{node.directory_host}:{node.directory_port}/metrics"
        with urllib.request.urlopen(url, timeout=100) as got:
            kind, page = got.headers["content-type"], got.read()
    assert kind.startswith("text/plain; version=0.0.4")
    found = series(page)
    replicas = {key for name, key in found if name == "fairlead_replica_pending_requests"}
    assert replicas == {replica_parts.name_of(revision) for revision in names}
    assert (found["fairlead_replica_pages", "Read"], found["fairlead_replica_pages", "Unread"]) == (2, 2)
