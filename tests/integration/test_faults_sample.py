"""A fixed sample of ``make faults``: whatever fails at a write, the end is the same."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import pytest
from tests.faults import choice, run, stage
from tests.faults.scenarios import SCENARIOS
from tests.support import nightly

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real

SEED = 20261124
AT_ONCE = 8
DAILY = ("canary", "rollback", "analysis failed", "blue-green", "delete")
"""A nightly run takes a sample of every story, and then `make faults` tries all faults."""


@pytest.mark.timeout(1200)
def test_a_fault_at_a_write_changes_nothing_of_the_end(kubernetes: cluster.LocalCluster, tmp_path: Path) -> None:
    with (
        stage.opened(kubernetes, tmp_path) as make_bench,
        concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        chosen = list(SCENARIOS) if nightly.is_chosen() else DAILY
        calm = dict(zip(chosen, pool.map(lambda name: run.run(make_bench, SCENARIOS[name]), chosen), strict=True))
        assert {name: outcome.broken for name, outcome in calm.items() if outcome.broken} == {}
        trials = [
            trial
            for number, name in enumerate(SCENARIOS)
            if name in calm
            for trial in choice.sample(name, calm[name].points, number=number, seed=SEED)
        ]

        def strike(trial: choice.Trial) -> run.Outcome:
            fault = run.Fault(point=trial.point, kind=trial.kind, calm=calm[trial.scenario])
            return run.run(make_bench, SCENARIOS[trial.scenario], fault)

        outcomes = pool.map(strike, trials)
        found = {str(t): run.judge(calm[t.scenario], here) for t, here in zip(trials, outcomes, strict=True)}
    assert {what: differences for what, differences in found.items() if differences} == {}
