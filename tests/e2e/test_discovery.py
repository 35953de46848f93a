"""Replicas are found where they are: a new one soon, and those of two nodes, while they are killed."""

from __future__ import annotations

import os
import signal
import statistics
from typing import Any

import httpx
import pytest
from tests.e2e.counted import counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.second_node import second_node
from tests.e2e.stage import Model, Stage
from tests.support import ray_nodes, request_counts
from tests.support.until import until

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
KILLS = 5
RATE = 400
REQUESTS = request_counts.at_least(30_000)
Replica = dict[str, Any]


@pytest.mark.nightly
def test_the_successor_of_a_killed_replica_takes_requests_within_seconds(stage: Stage) -> None:
    """The second is counted in requests: what the other replica answers until the new one has answered its first."""
    answered_meanwhile: list[int] = []
    with stage.deployed("found", replicas=2) as model:
        model.until_up(2)
        with counted(model, rate=RATE) as run:
            run.wait_until(lambda seen: seen.requests > RATE, timeout_s=400)
            for _ in range(KILLS):
                victim, other = _listed(stage, model)
                os.kill(ray_nodes.pid(stage.local, victim), signal.SIGKILL)
                new = _new(stage, model, {victim["name"], other["name"]})
                before = _answered(other)
                until(lambda new=new: _answered(new) > 0, "the new replica answers", deadline_s=400, poll_s=0.005)
                answered_meanwhile.append(_answered(other) - before)
                model.until_up(2)
            report = run.stop()
    RESULTS.add(
        f"From listening to the first answer, a client at {RATE}/s",
        {
            "kills": KILLS,
            "median s": statistics.median(answered_meanwhile) / RATE,
            "longest s": max(answered_meanwhile) / RATE,
            "requests": report.requests,
            "failed": report.failed,
        },
    )
    # A second on an idle machine; this one may have much else to do.
    assert statistics.median(answered_meanwhile) <= 5 * RATE, answered_meanwhile
    require_no_failures(report)


def test_two_nodes_with_replicas_of_one_revision_lose_replicas_and_a_whole_directory(stage: Stage) -> None:
    with second_node(stage), stage.deployed("spread", replicas=4) as model:
        model.until_up(4)
        both = {"127.0.0.1", "127.0.0.2"}
        until(lambda: {each["host"] for each in _listed(stage, model)} == both, "replicas on both nodes")
        with counted(model) as run:
            run.wait_until(lambda seen: seen.requests > 500, timeout_s=400)
            for number in range(4):
                hosts = _by_host(stage, model)
                _kill(stage, model, hosts[sorted(hosts)[number % len(hosts)]][:1])
            # Then nobody is left to answer for one of the nodes, until Ray has started another one there.
            _kill(stage, model, min(_by_host(stage, model).values(), key=len)[:3])
            run.wait_until(lambda seen: seen.requests >= REQUESTS, timeout_s=300)
            report = run.stop()
    _keep(report)
    assert report.requests >= REQUESTS
    require_no_failures(report)


def _listed(stage: Stage, model: Model) -> list[Replica]:
    """The model's replicas on all nodes, by name."""
    found = [each for part in ray_nodes.PARTS for each in ray_nodes.listed(stage.local, part)]
    return sorted((each for each in found if each["model"] == model.name), key=lambda each: str(each["name"]))


def _by_host(stage: Stage, model: Model) -> dict[str, list[Replica]]:
    """The hosts that have replicas; Ray may place all of them on one."""
    listed = _listed(stage, model)
    return {host: [each for each in listed if each["host"] == host] for host in {each["host"] for each in listed}}


def _new(stage: Stage, model: Model, known: set[str]) -> Replica:
    """The first replica that was not known, as soon as its node lists it."""

    def look() -> Replica | None:
        return next((each for each in _listed(stage, model) if each["name"] not in known), None)

    found = until(look, "Ray started another replica", deadline_s=400, poll_s=0.01)
    assert found is not None
    return found


def _answered(replica: Replica) -> int:
    """The inference requests that a replica has answered with 200."""
    text = httpx.get(f"http://{replica['host']}:{replica['port']}/metrics", timeout=20).raise_for_status().text
    counted_there = (
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("fairlead_replica_requests_total{") and 'protocol="v2"' in line and 'code="200"' in line
    )
    return int(sum(counted_there))


def _kill(stage: Stage, model: Model, victims: list[Replica]) -> None:
    """SIGKILL, each when the gateway has taken out the one before: two that die at once may lose a request.

    Returns when others took their places.
    """
    for victim in victims:
        up = model.up()
        os.kill(ray_nodes.pid(stage.local, victim), signal.SIGKILL)
        until(lambda up=up: model.up() < up, "the gateway took it out", deadline_s=400, poll_s=0.01)
    gone = {each["name"] for each in victims}

    def are_replaced() -> bool:
        names = {each["name"] for each in _listed(stage, model)}
        return len(names) == 4 and not names & gone

    until(are_replaced, "others are listed", deadline_s=400)
    model.until_up(4)


def _keep(report: load.Report) -> None:
    RESULTS.add(
        "Four replicas on two nodes, killed one by one, and all of one node",
        {"requests": report.requests, "failed": report.failed},
    )
