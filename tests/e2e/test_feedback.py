"""True labels sent as feedback find a candidate that is right less often, on real parts."""

from __future__ import annotations

import collections
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.measured import RESULTS
from tests.e2e.stage import Model, Stage
from tests.support.until import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
TABLE = "Accuracy by feedback"
REQUESTS = 1000
STEPS: list[dict[str, Any]] = [{"setWeight": 50}, {"pause": {}}]
ENOUGH = 20_000
JUDGED: dict[str, Any] = {
    "strategy": "Canary",
    "steps": [{"setWeight": 50}, {"analysis": {}}],
    "analysis": {
        "intervalSeconds": 1,
        "count": 600,
        "metrics": [{"name": "accuracy", "accuracy": {"marginPercent": 2}}],
    },
}


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    with stage.deployed("feedback") as made:
        yield made


class Client:
    """Asks for held-out samples in random order and sends the true label of each answer; keeps its own counts."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._gateway = stage.gateway
        self._samples = stage.models.labelled()
        self._random = random.Random(1)
        self._name = name
        self.labelled: collections.Counter[str] = collections.Counter()
        self.correct: collections.Counter[str] = collections.Counter()
        self.last = ""

    def ask(self) -> None:
        row, label = self._random.choice(self._samples)
        answer = self._gateway.post(f"/v1/models/{self._name}:predict", json={"instances": [row]}).raise_for_status()
        scores = answer.json()["predictions"][0]
        revision = answer.headers["x-fairlead-revision"]
        self.last = answer.headers["x-fairlead-feedback"]
        is_right = scores.index(max(scores)) == label
        counts = self.send_label(self.last, label)
        assert counts == {"labelled": 1, "correct": int(is_right), "repeated": 0}
        self.labelled[revision] += 1
        self.correct[revision] += is_right

    def send_label(self, token: str, label: int) -> dict[str, int]:
        body = {"token": token, "label": label}
        headers = {"x-fairlead-feedback": token}
        answer = self._gateway.post(f"/v2/models/{self._name}/feedback", json=body, headers=headers)
        return dict(answer.raise_for_status().json())

    def ratio(self, revision: str) -> float:
        return self.correct[revision] / self.labelled[revision]


def counted(stage: Stage, model: Model, revision: str) -> dict[str, int]:
    """The label counts of a revision, from the gateway."""
    answer = stage.admin.get(f"/v1/measurements/{model.name}").raise_for_status()
    return dict(answer.json()["revisions"][revision]["feedback"])


def test_a_candidate_that_is_right_ten_points_less_often_is_seen_in_the_counts(stage: Stage, model: Model) -> None:
    model.apply("worse", rollout={"strategy": "Canary", "steps": STEPS})
    found = model.until(
        "paused at 50 %",
        lambda seen: (seen.get("status") or {}).get("phase") == "Paused" and seen["status"]["rollout"]["weight"] == 50,
    )
    stable, candidate = found["status"]["stableRevision"], found["status"]["candidateRevision"]
    client = Client(stage, model.name)

    for _ in range(REQUESTS):
        client.ask()

    for revision in (stable, candidate):
        expected = {"labelled": client.labelled[revision], "correct": client.correct[revision]}
        until(lambda r=revision, e=expected: counted(stage, model, r) == e, f"{revision}: {json.dumps(expected)}")
    assert abs(client.labelled[candidate] - REQUESTS / 2) <= 1
    assert client.ratio(stable) - client.ratio(candidate) > 0.02
    assert client.send_label(client.last, 0) == {"labelled": 0, "correct": 0, "repeated": 1}
    for revision, what in ((stable, "stable"), (candidate, "candidate, trained to be 10 points worse")):
        labelled, right = client.labelled[revision], client.correct[revision]
        RESULTS.add(TABLE, {"what": what, "labelled": labelled, "correct": right, "accuracy": client.ratio(revision)})


def test_a_less_accurate_candidate_is_withdrawn(stage: Stage, model: Model) -> None:
    stable, before = model.stable, model.status().get("candidateRevision")
    model.apply("worse", label="judged", rollout=JUDGED)
    found = model.until("at 50 %", lambda seen: is_at_half(seen["status"]) and named(seen) != before)
    candidate = named(found)
    client = Client(stage, model.name)

    answer = ""
    while not answer and client.labelled.total() < ENOUGH:
        client.ask()
        if client.labelled.total() % 20 == 0:
            answer = quarantined(model, candidate)
    model.until("withdrawn", lambda seen: "rollout" not in seen["status"])

    assert model.stable == stable
    assert "accuracy" in answer, model.explain()
    row = {"what": f"taken back: {answer}", "labelled": client.labelled[candidate]}
    RESULTS.add(TABLE, row | {"correct": client.correct[candidate], "accuracy": client.ratio(candidate)})


def is_at_half(status: dict[str, Any]) -> bool:
    return status.get("rollout", {}).get("weight") == 50


def named(found: dict[str, Any]) -> str:
    return str(found["status"].get("candidateRevision"))


def quarantined(model: Model, revision: str) -> str:
    """Why the revision was given up; empty while it isn't."""
    entries = model.status().get("quarantine", ())
    return next((str(each["message"]) for each in entries if each["revision"] == revision), "")
