"""Drift of real images is found after few requests, and quiet days raise no alarm: the tables of docs/monitoring.md."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from benchmarks import drift

from fairlead_cli.evaluation import drift_distance


@pytest.fixture(scope="module")
def world() -> drift.World:
    return drift.make_digits()


@pytest.fixture(scope="module")
def texts() -> drift.World:
    return drift.make_texts()


@pytest.mark.parametrize("traffic", drift.TRAFFIC, ids=lambda traffic: traffic.name)
def test_no_quiet_day_of_200_raises_an_alarm(world: drift.World, traffic: drift.Traffic) -> None:
    seen = drift.quiet_days(world, traffic, drift.QUIET_DAYS)
    assert set(seen) == {"input0_mean", "input0_spread", "score", "class"}
    assert [each.looks for each in seen.values()] == [200 * 1440 - 59 + 200 * 24 - 23] * 4
    assert {feature: each.alarms for feature, each in seen.items()} == dict.fromkeys(seen, 0)


def test_days_that_are_not_quiet_do_raise_alarms(world: drift.World) -> None:
    """The days are judged by their rows: with inverted ones in place of the held-out rows each feature alarms."""
    bright = dataclasses.replace(world, rows=(1 - world.rows).astype(np.float32))
    seen = drift.quiet_days(bright, drift.TRAFFIC[1], 1)
    assert all(each.alarms for feature, each in seen.items() if feature != "input0_spread")


@pytest.mark.parametrize(
    ("change", "feature", "most"),
    [
        ("brighter by 0.1", "input0_mean", 80),
        ("darker, x 0.7", "input0_spread", 80),
        ("inverted", "score", 200),
    ],
)
def test_changed_images_are_found_within_so_many_requests(
    world: drift.World, change: str, feature: str, most: int
) -> None:
    found = drift.requests_until_found(world, drift.CHANGES[change], drift.SEED, before=0)
    assert 0 < found[feature] <= most


def test_changed_images_are_found_among_good_ones_of_the_same_hour(world: drift.World) -> None:
    found = drift.requests_until_found(world, drift.CHANGES["brighter by 0.3"], drift.SEED, before=600)
    assert 0 < found["input0_mean"] <= 400


def test_no_quiet_day_of_200_raises_an_alarm_about_texts(texts: drift.World) -> None:
    seen = drift.quiet_days(texts, drift.TRAFFIC[0], drift.QUIET_DAYS)
    assert {feature: each.alarms for feature, each in seen.items()} == {"input0_length": 0, "input0_unknown": 0}


def test_new_words_in_texts_of_the_same_length_are_found(texts: drift.World) -> None:
    change = drift.TEXT_CHANGES["one word in six is another one"]
    found = drift.requests_until_found(texts, change, drift.SEED, before=0, most=1000)
    assert set(found) == {"input0_unknown"}
    assert found["input0_unknown"] <= 400


def test_unchanged_images_are_not_found(world: drift.World) -> None:
    assert drift.requests_until_found(world, lambda image: image, drift.SEED, before=0, most=3000) == {}


def test_the_bound_holds_at_all_looks_of_a_growing_sample() -> None:
    """2,000 samples of the reference's own shares, looked at after each row, at a bound for one in fifty."""
    rng = np.random.default_rng(drift.SEED)
    shares = np.array([0.25, 0.25, 0.25, 0.25])
    looks = np.arange(1, 1001)
    level = np.log(50) - 17.15
    outside = 0
    for _ in range(2000):
        counts = np.cumsum(rng.multinomial(1, shares, size=len(looks)), axis=0)
        distance = 0.5 * np.abs(counts / looks[:, None] - shares).sum(axis=1)
        wide = drift_distance.sampling_error(looks, 4) * looks
        bound = np.sqrt(wide**2 + (looks / 4 + 25) * 2 * level) / looks
        outside += bool((distance > bound).any())
    assert outside <= 2000 / 50
