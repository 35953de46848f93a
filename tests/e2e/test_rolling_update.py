"""A RollingUpdate in batches under load: no request fails, forward and back, and both limits hold at every look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.e2e.asking import next_version
from tests.e2e.counted import counted, no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_operator
from tests.e2e.stage import Model, Stage, is_settled

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
REQUESTS = 10_000
REPLICAS = 3
TABLE = "A RollingUpdate in batches"


class Watched:
    """The replicas that Ray aims at and those that the gateway sees ready, at every look at the object."""

    def __init__(self, stage: Stage, model: Model) -> None:
        self._stage, self._model = stage, model
        self.most, self.least = 0, REPLICAS

    def and_then(self, holds: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
        def look(found: dict[str, Any]) -> object:
            applications = self._stage.ray.applications(self._model.name).values()
            targets = [each["target_num_replicas"] for a in applications for each in a["deployments"].values()]
            self.most = max(self.most, sum(targets))
            self.least = min(self.least, self._model.up())
            return holds(found)

        return look


def moves(found: dict[str, Any]) -> bool:
    """The second of the batches is under way."""
    rollout = found["status"].get("rollout") or {}
    return bool(rollout.get("phase") == "Shifting" and rollout["step"] == 1)


@pytest.mark.parametrize(("surge", "unavailable"), [(1, 0), (0, 1)])
def test_batches_keep_to_their_limits_and_fail_no_request(stage: Stage, surge: int, unavailable: int) -> None:
    limits = {"rollingUpdate": {"surge": surge, "unavailable": unavailable}}
    with stage.deployed("batches", replicas=REPLICAS, rollout=limits) as model:
        model.until_up(REPLICAS)
        seen, before = Watched(stage, model), model.stable
        with counted(model) as run:
            model.apply(next_version(model), label="next", rollout=limits)
            model.until("in its second batch", seen.and_then(moves))
            kill_operator(stage.local)
            model.until(
                "settled",
                seen.and_then(lambda found: is_settled(found) and found["status"]["stableRevision"] != before),
            )
            run.wait_until(lambda counts: counts.requests > REQUESTS, timeout_s=300)
            report = run.stop()
    no_failures(report)
    assert (seen.most, seen.least) == (REPLICAS + surge, REPLICAS - unavailable)
    _keep(f"surge {surge}, unavailable {unavailable}, operator killed in the second batch", report, seen)


def test_the_spec_s_way_back_in_the_middle_fails_no_request(stage: Stage) -> None:
    limits = {"rollingUpdate": {"surge": 1}}
    with stage.deployed("back", replicas=REPLICAS, rollout=limits) as model:
        model.until_up(REPLICAS)
        seen, before = Watched(stage, model), model.stable
        with counted(model) as run:
            model.apply("v2", rollout=limits)
            model.until("in its second batch", seen.and_then(moves))
            model.apply("v1", rollout=limits)
            model.until("going back", seen.and_then(lambda found: "rollout" in found["status"] and _is_back(found)))
            kill_operator(stage.local)
            model.until("settled", seen.and_then(is_settled))
            run.wait_until(lambda counts: counts.requests > REQUESTS, timeout_s=300)
            report = run.stop()
        assert model.stable == before
    no_failures(report)
    assert seen.least >= REPLICAS
    assert seen.most == REPLICAS + 1
    _keep("the spec goes back in the second batch, operator killed", report, seen)


def _is_back(found: dict[str, Any]) -> bool:
    return found["status"]["rollout"]["phase"] in ("Restoring", "Withdrawing")


def _keep(what: str, report: Any, seen: Watched) -> None:
    row = {"what": what, "requests": report.requests, "failed": report.failed}
    RESULTS.add(TABLE, {**row, "replicas wanted at the most": seen.most, "ready at the least": seen.least})
