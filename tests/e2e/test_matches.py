"""Who meets a candidate by a header and who keeps it by one: nobody notices an operator that is killed meanwhile."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from tests.e2e.asking import asked, fairlead
from tests.e2e.counted import count_by_revision, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_operator
from tests.e2e.stage import Model, Stage
from tests.support import request_counts

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REQUESTS = request_counts.at_least(30_000)
USERS = ("ada", "bob", "eve", "joe")
CANARY: dict[str, Any] = {
    "strategy": "Canary",
    "steps": [{"setWeight": 0}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}],
    "match": [{"header": "X-Group", "value": "beta"}, {"cookie": "canary", "value": "on"}],
    "sticky": {"header": "X-User"},
}


def paused_at(model: Model, weight: int) -> None:
    def is_so(found: dict[str, Any]) -> bool:
        status = found["status"]
        is_read = status["observedGeneration"] == found["metadata"]["generation"]
        return is_read and status.get("phase") == "Paused" and status["rollout"]["weight"] == weight

    model.until(f"paused at {weight} %", is_so)


def test_matches_and_sticky_callers_keep_their_revision_while_the_operator_is_killed(stage: Stage) -> None:
    with stage.deployed("matched") as model:
        stable = model.stable
        model.apply("v2", rollout=CANARY)
        paused_at(model, 0)
        candidate = model.status()["candidateRevision"]
        led, by_cookie, left = (run_of(stage, model, *each) for each in (LED, BY_COOKIE, LEFT))
        for report in (led, by_cookie):
            assert set(report.revisions) == {candidate}
        assert set(left.revisions) == {stable}
        assert "header x-group=beta selects the candidate" in fairlead(stage, "status", model)[1]

        asked(stage, "promote", model)
        paused_at(model, 50)
        with contextlib.ExitStack() as running:
            runs = {user: running.enter_context(load.background(by(model, "x-user", user))) for user in USERS}
            beta = running.enter_context(load.background(by(model, "x-group", "beta")))
            each = REQUESTS // (2 * (len(USERS) + 1))
            everybody = [*runs.values(), beta]
            wait_for(everybody, each)
            kill_operator(stage.local)
            wait_for(everybody, 2 * each)
            of_users = {user: run.stop() for user, run in runs.items()}
            of_beta = beta.stop()
        kept = {user: set(report.revisions) for user, report in of_users.items()}
        assert all(len(names) == 1 for names in kept.values()), kept
        assert set(of_beta.revisions) == {candidate}

        with load.background(by(model, "x-user", USERS[0])) as run:
            wait_for([run], 300)
            asked(stage, "abort", model)
            model.until("withdrawn", lambda found: "rollout" not in found["status"])
            answered = count_by_revision(run, candidate)
            wait_for([run], run.progress().requests + 500)
            aborted = run.stop()
        assert aborted.revisions.get(candidate, None) is None or aborted.revisions[candidate].count <= answered + 2

        reports = [led, by_cookie, left, *of_users.values(), of_beta, aborted]
        for report in reports:
            require_no_failures(report)
        RESULTS.add(
            "A canary with matches and a sticky header",
            {
                "what": "led by header or cookie, kept by a header, operator killed, aborted",
                "requests": sum(report.requests for report in reports),
                "failed": sum(report.failed for report in reports),
                "users at the candidate of 4, at 50 %": sum(names == {candidate} for names in kept.values()),
            },
        )


LED, BY_COOKIE, LEFT = ("x-group", "beta"), ("cookie", "a=b; canary=on"), ("x-group", "alpha")


def by(model: Model, header: str, value: str) -> load.Settings:
    return model.load(connections=2, rate=request_counts.rate(200.0)).model_copy(update={"headers": ((header, value),)})


def run_of(stage: Stage, model: Model, header: str, value: str) -> load.Report:
    with load.background(by(model, header, value)) as run:
        wait_for([run], request_counts.at_least(3_000))
        return run.stop()


def wait_for(runs: list[load.Background], count: int) -> None:
    for run in runs:
        run.wait_until(lambda seen: seen.requests >= count, timeout_s=300)
