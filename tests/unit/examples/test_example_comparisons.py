"""The comparisons of optimizers and of gradients: what they measure, that a seed repeats it, and their pictures."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from examples import families, gradients, optimizers
from tests.support import png_pixels
from tests.support.small_families import small

from fairlead_cli import charts

pytestmark = pytest.mark.timeout(600)
NAMES = ["sgd", "momentum", "adagrad", "rmsprop", "adam"]


@pytest.fixture(scope="module")
def compared() -> optimizers.Comparison:
    return optimizers.compare(optimizers.Plan(family=small("dense"), epochs=2, seeds=(0, 1)))


def test_every_optimizer_begins_with_the_same_weights_of_a_seed(compared: optimizers.Comparison) -> None:
    assert [each.name for each in compared.optimizers] == NAMES
    for number, seed in enumerate((0, 1)):
        runs = [each.runs[number] for each in compared.optimizers]
        assert {run.seed for run in runs} == {seed}
        assert len({run.losses[0] for run in runs}) == 1
        assert len({run.losses[-1] for run in runs}) == len(NAMES)
    assert compared.optimizers[0].runs[0].losses[0] != compared.optimizers[0].runs[1].losses[0]


def test_a_run_has_a_value_for_each_epoch_and_learns(compared: optimizers.Comparison) -> None:
    for each in compared.optimizers:
        assert each.learning_rate == pytest.approx(families.OPTIMIZERS[each.name][1])
        for run in each.runs:
            assert (len(run.losses), len(run.validation_accuracies)) == (3, 2)
            assert min(run.losses[1:]) < run.losses[0]  # two epochs of few rows: a large rate may overshoot again
            assert run.held_out.n == 32


@pytest.mark.nightly
def test_a_second_comparison_of_optimizers_finds_the_same(compared: optimizers.Comparison) -> None:
    repeated = optimizers.compare(optimizers.Plan(family=small("dense"), epochs=2, seeds=(1,)))

    for first, second in zip(compared.optimizers, repeated.optimizers, strict=True):
        assert first.runs[1].losses == pytest.approx(second.runs[0].losses, abs=1e-4)
        assert first.runs[1].held_out == second.runs[0].held_out


def test_the_picture_of_the_optimizers_has_each_ones_colour(compared: optimizers.Comparison) -> None:
    pixels = png_pixels.decode(optimizers.draw(compared))

    for colour in charts.COLOURS[: len(NAMES)]:
        assert png_pixels.count(pixels, colour) > 100


PLAN = gradients.Plan(steps=6, batches=3)


def test_the_norm_of_a_gradient_is_what_a_small_change_of_one_step_does_to_the_output() -> None:
    built = gradients.build("gru", PLAN.steps)
    symbols, _ = gradients.sequences(PLAN, 1, seed=0)
    vectors = np.asarray(built.embedding(symbols), "float64")
    expected = []
    for step in range(PLAN.steps):
        slopes = []
        for at in range(gradients.WIDTH):
            changed = [vectors.copy(), vectors.copy()]
            changed[0][0, step, at] += 0.01
            changed[1][0, step, at] -= 0.01
            more, less = (float(built.rest(each.astype("float32"))[0, 0]) for each in changed)
            slopes.append((more - less) / 0.02)
        expected.append(float(np.linalg.norm(slopes)))

    assert gradients.norms(built, symbols) == pytest.approx(expected, rel=0.02, abs=1e-4)


def test_a_sequence_begins_with_the_signal_that_is_its_label_and_has_it_nowhere_else() -> None:
    symbols, labels = gradients.sequences(PLAN, 200, seed=3)

    assert symbols.shape == (200, PLAN.steps)
    np.testing.assert_array_equal(labels, symbols[:, 0])
    assert set(symbols[:, 1:].flat) == set(range(2, gradients.SYMBOLS))
    assert 60 < labels.sum() < 140


def test_a_second_comparison_of_gradients_finds_the_same_and_draws_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = {name: gradients.TITLES[name] for name in ("orthogonalRnn", "attention")}
    monkeypatch.setattr(gradients, "TITLES", compared)
    options = ["--steps", "6", "--batches", "3"]
    for name in ("first", "second"):
        assert gradients.main([*options, "--out", str(tmp_path / name)]) == 0
    first, second = (json.loads((tmp_path / name / "gradients.json").read_text()) for name in ("first", "second"))
    assert [each["name"] for each in first["networks"]] == list(compared)
    for one, other in zip(first["networks"], second["networks"], strict=True):
        assert len(one["before"]) == len(one["after"]) == 6
        assert one["before"] == pytest.approx(other["before"], rel=1e-3)
        assert one["after"] == pytest.approx(other["after"], rel=1e-2)
        assert one["recall"]["n"] == gradients.JUDGED_ROWS
    pixels = png_pixels.decode((tmp_path / "first" / "gradients.png").read_bytes())
    for colour in charts.COLOURS[:2]:
        assert png_pixels.count(pixels, colour) > 100
