"""Another part that decides is found in models of TensorFlow, and quiet days raise no alarm: docs/monitoring.md."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import attribution_drift, drift

from fairlead_cli.evaluation import drift_distance, reference_statistics
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def table() -> attribution_drift.World:
    return attribution_drift.make_table()


@pytest.fixture(scope="module")
def digits() -> attribution_drift.World:
    return attribution_drift.make_digits()


@pytest.mark.parametrize("traffic", drift.TRAFFIC, ids=lambda traffic: traffic.name)
def test_no_quiet_day_of_200_raises_an_alarm(table: attribution_drift.World, traffic: drift.Traffic) -> None:
    seen = attribution_drift.quiet_days(table, traffic, drift.QUIET_DAYS)
    assert (seen.looks, seen.alarms) == (200 * 1440 - 59 + 200 * 24 - 23, 0)


def test_no_quiet_day_of_200_raises_an_alarm_about_images(digits: attribution_drift.World) -> None:
    assert attribution_drift.quiet_days(digits, drift.TRAFFIC[0], drift.QUIET_DAYS).alarms == 0


def test_another_column_that_decides_is_found(table: attribution_drift.World) -> None:
    change = "columns 0 and 1 mostly differ in their sign"
    alone = attribution_drift.rows_until_found(table, change, drift.SEED, before=0)
    among_good = attribution_drift.rows_until_found(table, change, drift.SEED, before=600)
    assert alone is not None
    assert 400 <= alone <= 900
    assert among_good is not None
    assert alone < among_good <= 2500


def test_no_feature_of_the_inputs_shows_that_change() -> None:
    """It is in how two columns go together: each by itself is distributed as before."""
    rng = np.random.default_rng(drift.SEED)
    spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 5))
    signature = Signature(name="serving_default", method="", inputs=(spec,), outputs=(spec,))
    training, live = (attribution_drift.draw(rng, 5000, equal) for equal in (0.85, 0.15))
    _, features = reference_statistics.bin_rows(signature, (training,))
    world = drift.World(signature, drift.make_reference(signature, training), live[:, None])
    replica = drift.Replica(world)
    for row in live:
        replica.answer(row[None])
    counts, known = replica.counts(), drift.references(world)
    assert len(features) == 5
    assert all(
        drift_distance.proved(counts[name][None], known[name])[0] < 0 for name in (each.name for each in features)
    )


@pytest.mark.parametrize("change", ["inverted", "left half black"])
def test_another_region_that_decides_is_found(digits: attribution_drift.World, change: str) -> None:
    found = attribution_drift.rows_until_found(digits, change, drift.SEED, before=0)
    assert found is not None
    assert found <= 600


def test_days_that_are_not_quiet_do_raise_alarms(table: attribution_drift.World) -> None:
    changed = next(iter(table.changed.values()))
    world = attribution_drift.World(table.reference, changed, {}, 0.0)
    assert attribution_drift.quiet_days(world, drift.TRAFFIC[1], 2).alarms > 0
