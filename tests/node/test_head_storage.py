"""A Ray head whose state is in a Redis: it is killed under load, then the Redis is replaced, and no request fails."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.node import own_class, pods, product, redis
from tests.support.until import until

REQUESTS = 30_000
CONNECTIONS = 8
DATABASES = "databases"
SECRET = "ray-redis"
PASSWORD = "of-the-test"
HEAD = "ray.io/node-type=head"
WORKER = "ray.io/node-type=worker"


@pytest.fixture(scope="module")
def kept(installed: product.Product, url: str) -> Iterator[product.Product]:
    """A model of two replicas whose Ray head has a Redis."""
    node = installed.node
    address = redis.apply(node, namespace=DATABASES, secret=SECRET, password=PASSWORD)
    storage = {"redisAddress": address, "redisPassword": {"name": SECRET, "key": redis.PASSWORD_KEY}}
    fields = {"workers": {"min": 2, "max": 2}, "gcsFaultTolerance": storage}
    with own_class.namespace(node, "kept-heads", class_name="kept", class_fields=fields) as made:
        made.apply(redis.make_secret(SECRET, PASSWORD))
        own_class.serve(made, "doubling", url, class_name="kept", scaling={"replicas": 2})
        made.await_ready(deadline_s=600)
        yield made
    pods.run(node, "delete", f"namespace/{DATABASES}", "--timeout=120s")


def worker_uids(served: product.Product) -> set[str]:
    return {each["metadata"]["uid"] for each in served.pods(WORKER)}


def head_starts(kept: product.Product) -> int:
    """How often the container of the head has been started again."""
    (head,) = kept.pods(HEAD)
    return sum(each["restartCount"] for each in head["status"]["containerStatuses"] if each["name"] == "ray-head")


def scale(kept: product.Product, replicas: int) -> None:
    """Ask for so many replicas, and wait until they are ready."""
    patch = json.dumps({"spec": {"scaling": {"replicas": replicas}}})
    kept.kubectl("patch", "mdep/doubling", "--type=merge", f"--patch={patch}")
    until(
        lambda: kept.model()["status"].get("readyReplicas") == replicas,
        f"{replicas} replicas",
        deadline_s=300,
        poll_s=0.5,
        explain=lambda: json.dumps(kept.model()["status"]) + kept.kubectl("get", "pods", "--output=wide"),
    )


def test_no_request_fails_while_a_head_is_killed_and_replaced(kept: product.Product) -> None:
    (name,) = kept.ready_pods(HEAD)
    before = worker_uids(kept)
    with kept.load(connections=CONNECTIONS) as client:
        client.wait_until(lambda seen: seen.requests >= 1000, timeout_s=300)
        kept.kubectl("delete", f"pod/{name}", "--force", "--grace-period=0")
        until(lambda: kept.ready_pods(HEAD) not in ([], [name]), "another head", deadline_s=300, poll_s=0.5)
        # The new head is of use: it starts another replica.
        scale(kept, 3)
        client.wait_until(lambda seen: seen.requests >= REQUESTS, timeout_s=600)
        report = client.stop()
    print(f"\n{report.summary()}, longest gap {report.longest_gap_s:.2f} s")
    assert report.failed == 0, report.failures[:5]
    assert worker_uids(kept) == before, "a worker was replaced"


def test_no_request_fails_while_the_redis_is_replaced_and_its_data_is_on_a_claim(kept: product.Product) -> None:
    """A head that loses its Redis ends. The next one reads the state from the Redis that has the same volume."""
    before = worker_uids(kept)
    with kept.load(connections=CONNECTIONS) as client:
        client.wait_until(lambda seen: seen.requests >= 1000, timeout_s=300)
        started = head_starts(kept)
        redis.replace(kept.node, namespace=DATABASES)
        until(lambda: head_starts(kept) > started, "the end of the head", deadline_s=300, poll_s=0.5)
        until(lambda: kept.ready_pods(HEAD), "a head that is ready", deadline_s=300, poll_s=0.5)
        scale(kept, 4)
        report = client.stop()
    print(f"\n{report.summary()}, longest gap {report.longest_gap_s:.2f} s")
    assert report.failed == 0, report.failures[:5]
    assert worker_uids(kept) == before, "a worker was replaced"
