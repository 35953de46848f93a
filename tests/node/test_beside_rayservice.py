"""A model's update, its way back and a bad update, beside the same with KubeRay's RayService.

Both serve the same model from the same image, with two replicas on two workers of the same size, on the same node, one
after the other, while a client calls them at the same rate. Nothing is asserted of the RayService's figures but that it
serves: they are printed (docs/measurements.md).
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.node import own_class, product, rayservice
from tests.support.until import until

from fairlead_cli import load

REPLICAS = 2
RATE = 100.0
REQUESTS = 10_000
QUIET_S = 5.0
"""An old version without an answer for so long is taken for gone."""
DEADLINE_S = 300.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What happened to one contender, and how many seconds after what."""

    name: str
    what: str
    took: str
    requests: int
    failed: int
    longest_gap_s: float

    def write_line(self) -> str:
        """A line of the table in docs/measurements.md."""
        counts = f"{self.requests:,} | {self.failed:,} | {self.longest_gap_s:.2f}"
        return f"| {self.name} | {self.what} | {self.took} | {counts} |"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to serve the model."""

    name: str
    change: Callable[[str, str], None]
    """Asks for a model at a URL under the name of a version."""
    has_failed: Callable[[], bool]
    """Whether the object says that what was asked for can't be served."""
    is_ready: Callable[[], bool]
    explain: Callable[[], str]
    run: Callable[[], load.Background]


@pytest.fixture(scope="module")
def report() -> Iterator[list[Row]]:
    rows: list[Row] = []
    yield rows
    print("\n| | what | seconds | requests | failed | longest time without an answer, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(*(each.write_line() for each in rows), sep="\n")


def make_row(contender: Contender, what: str, took: str, done: load.Report) -> Row:
    print(f"\n{contender.name}, {what}: {done.summary()}")
    return Row(
        name=contender.name,
        what=what,
        took=took,
        requests=done.requests,
        failed=done.failed,
        longest_gap_s=done.longest_gap_s,
    )


def measure_change(contender: Contender, what: str, url: str, version: str) -> Row:
    """Ask for another version, until all answers are its."""
    with contender.run() as client:
        client.wait_until(lambda seen: seen.requests >= 200, timeout_s=60)
        before = set(client.progress().revisions)
        began = time.monotonic()
        contender.change(url, version)
        first, last = watch(client, before, began, contender)
        client.wait_until(lambda seen: seen.requests >= REQUESTS, timeout_s=600)
        done = client.stop()
    return make_row(
        contender, what, f"{first:.1f} to the first answer of {version}, {last:.1f} to the last other", done
    )


def watch(client: load.Background, before: set[str], began: float, contender: Contender) -> tuple[float, float]:
    """Seconds to the first answer of another revision than those, and to the last answer of one of those."""
    first: float | None = None
    last, old = began, -1

    def look() -> bool:
        nonlocal first, last, old
        revisions = client.progress().revisions
        if first is None and set(revisions) - before:
            first = time.monotonic()
        answers = sum(count for name, count in revisions.items() if name in before)
        if answers != old:
            old, last = answers, time.monotonic()
        return first is not None and time.monotonic() - max(first, last) > QUIET_S

    until(look, "answers of the new version alone", deadline_s=DEADLINE_S, poll_s=0.1, explain=contender.explain)
    assert first is not None
    return first - began, last - began


def measure_bad_update(contender: Contender, url: str, version: str) -> Row:
    """Ask for a broken archive, until the object says so, then for the one before, until it is ready."""
    with contender.run() as client:
        client.wait_until(lambda seen: seen.requests >= 200, timeout_s=60)
        began = time.monotonic()
        contender.change(url.rpartition("/")[0] + "/" + product.BROKEN, "bad")
        until(contender.has_failed, "a failure", deadline_s=DEADLINE_S, poll_s=0.2, explain=contender.explain)
        noticed = time.monotonic()
        contender.change(url, version)
        until(contender.is_ready, "the version before", deadline_s=DEADLINE_S, poll_s=0.2, explain=contender.explain)
        ended = time.monotonic()
        client.wait_until(lambda seen: seen.requests >= REQUESTS, timeout_s=600)
        done = client.stop()
    took = f"{noticed - began:.1f} until it says so, {ended - noticed:.1f} from the way back until it is ready"
    return make_row(contender, f"a broken archive, and back to {version}", took, done)


def measure(contender: Contender, url: str) -> list[Row]:
    return [
        measure_change(contender, "v1 to v2", url, "v2"),
        measure_change(contender, "v2 to v1", url, "v1"),
        measure_bad_update(contender, url, "v1"),
    ]


@contextmanager
def fairlead(installed: product.Product, url: str) -> Iterator[tuple[Contender, dict[str, object]]]:
    """The product with its defaults, and the spec of its RayCluster."""
    fields = {"workers": {"min": REPLICAS, "max": REPLICAS}}
    with own_class.namespace(installed.node, "beside", class_name="beside", class_fields=fields) as served:

        def change(asked: str, version: str) -> None:
            own_class.serve(
                served, "doubling", asked, class_name="beside", version=version, scaling={"replicas": REPLICAS}
            )

        def has_failed() -> bool:
            conditions = served.model()["status"].get("conditions", [])
            return any(each["type"] == "Stalled" and each["status"] == "True" for each in conditions)

        change(url, "v1")
        served.await_ready(deadline_s=600)
        (cluster,) = json.loads(served.kubectl("get", "rayclusters", "--output=json"))["items"]
        contender = Contender(
            name="Fairlead",
            change=change,
            has_failed=has_failed,
            is_ready=served.is_ready,
            explain=lambda: json.dumps(served.model()["status"]),
            run=lambda: served.load(rate_limit=RATE),
        )
        yield contender, cluster["spec"]


@contextmanager
def ray_service(installed: product.Product, url: str, cluster: dict[str, object]) -> Iterator[Contender]:
    served = product.make_namespace(installed.node, "rayservice")
    spec = rayservice.cluster_spec(cluster, workers=REPLICAS)

    def change(asked: str, version: str) -> None:
        rayservice.change(served, replicas=REPLICAS, url=asked, version=version)

    rayservice.apply(served, spec, replicas=REPLICAS, url=url, version="v1")
    until(
        lambda: rayservice.status(served) == "RUNNING" and rayservice.is_served(served),
        "a RayService that serves",
        deadline_s=600,
        poll_s=1,
        explain=lambda: rayservice.explain(served),
    )
    yield Contender(
        name="RayService",
        change=change,
        has_failed=lambda: rayservice.status(served) in ("DEPLOY_FAILED", "UNHEALTHY"),
        is_ready=lambda: rayservice.status(served) == "RUNNING",
        explain=lambda: rayservice.explain(served),
        run=lambda: served.load(rate_limit=RATE, authority=rayservice.address(served)),
    )
    served.kubectl("delete", f"rayservice/{rayservice.NAME}", "--timeout=120s")
    until(lambda: not served.pods("ray.io/is-ray-node=yes"), "no pod of Ray", deadline_s=240, poll_s=1)
    served.node.kubectl("delete", "namespace/rayservice", "--timeout=240s")


def test_no_request_fails_where_a_rayservice_changes_its_application(
    installed: product.Product, url: str, report: list[Row]
) -> None:
    with fairlead(installed, url) as (contender, cluster):
        ours = measure(contender, url)
    report += ours
    with ray_service(installed, url, cluster) as peer:
        report += measure(peer, url)
    assert [each.failed for each in ours] == [0, 0, 0]
    assert all(each.requests >= REQUESTS for each in report)
