"""Scenarios as files: ``NAME.in.yaml`` runs in the virtual world, ``NAME.out.yaml`` has plans, events and status.

A changed story is refreshed with ``FAIRLEAD_REFRESH=1 pytest tests/scenarios`` and reviewed as code.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.virtual_world import Fault, VirtualWorld
from typing_extensions import override

FOLDER = Path(__file__).parent
STORIES = sorted(path.name.removesuffix(".in.yaml") for path in FOLDER.glob("*.in.yaml"))
REFRESH = os.environ.get("FAIRLEAD_REFRESH") == "1"
NAME = "digits"


class Plain(yaml.SafeDumper):
    """Values that occur twice are written out twice."""

    @override
    def ignore_aliases(self, data: object) -> bool:
        return True


def do(world: VirtualWorld, step: dict[str, Any]) -> None:
    """What a person or the world does in a step."""
    world.load = step.get("load", world.load)
    world.cores = step.get("cores", world.cores)
    match step:
        case {"apply": spec}:
            world.apply(NAME, **spec)
        case {"change": changes}:
            for path, value in changes.items():
                world.change(NAME, path, value)
        case {"delete": True}:
            world.delete(NAME)
        case {"ask": requests}:
            for request in requests:
                world.ask(NAME, **request)
        case _:
            happen(world, step)


def happen(world: VirtualWorld, step: dict[str, Any]) -> None:
    match step:
        case {"lose_ray": True}:
            world.lose_ray()
        case {"stop": {"revision": number}}:
            world.stop_replicas(NAME, number)
        case {"crash": {"revision": number, "words": words}}:
            world.crash_replica(NAME, number, words)
        case {"aim": {"revision": number, "replicas": replicas}}:
            world.aim(NAME, number, replicas)
        case {"room": {"revision": number, "replicas": replicas}}:
            world.make_room(NAME, number, replicas)
        case {"hold": requests}:
            world.hold(world.gateways[0], NAME, requests)
        case {"idle": True}:
            world.rest(NAME)
        case {"wait": seconds}:
            world.advance(seconds)
        case _:
            pass


def run(world: VirtualWorld, step: dict[str, Any]) -> None:
    """How the operator's passes go on after it: some rounds, with a fault in each, or until it is quiet."""
    fault = Fault(step.get("fault", Fault.NONE))
    for _ in range(step.get("rounds", 0)):
        world.pass_model(NAME, fault)
        world.pass_ray(fault if fault is Fault.RAY_UNREAD else Fault.NONE)
        world.tick()
    if "rounds" not in step:
        world.settle()


def describe_progress(world: VirtualWorld, plans: int, events: int) -> dict[str, Any]:
    """What the step led to; a repeated plan is listed once."""
    lines = [str(plan) for plan in world.plans[plans:]]
    distinct = [line for before, line in zip(["", *lines], lines, strict=False) if line != before]
    return {
        "plans": distinct,
        "events": [f"{e.type} {e.reason}: {e.message}" for e in world.events[events:]],
        "status": status_of(world),
        "route": world.routes.get(NAME),
        "ray": {name: app.running for name, app in sorted(world.applications.items())},
    }


def status_of(world: VirtualWorld) -> Any:
    stored = world.models.get(NAME)
    if stored is None:
        return "gone"
    status = {k: v for k, v in stored.status.items() if k not in ("revisions", "selector")}
    status["conditions"] = [f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in status["conditions"]]
    status["revisions"] = [
        f"{r['number']} {r['name']} {r['role']}: {r['readyReplicas']} of {r['wantedReplicas']} ready"
        for r in stored.status["revisions"]
    ]
    return status


def describe(story: dict[str, Any]) -> list[dict[str, Any]]:
    world, chapters = VirtualWorld(), []
    for step in story["steps"]:
        plans, events = len(world.plans), len(world.events)
        do(world, step)
        run(world, step)
        chapters.append({"step": step["says"], **describe_progress(world, plans, events)})
    return chapters


@pytest.mark.parametrize("name", STORIES)
def test_a_scenario_gives_the_reviewed_output(name: str) -> None:
    story = yaml.safe_load((FOLDER / f"{name}.in.yaml").read_text())
    text = yaml.dump(describe(story), Dumper=Plain, sort_keys=False, width=120, allow_unicode=True)
    golden = FOLDER / f"{name}.out.yaml"
    if REFRESH:
        golden.write_text(text)
    assert text == golden.read_text()


def test_each_scenario_has_input_and_output() -> None:
    assert sorted(path.name.removesuffix(".out.yaml") for path in FOLDER.glob("*.out.yaml")) == STORIES
