"""`fairlead compare --plot`: the candidates are where their figures say, and a wrong file is refused at once."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from tests.support import png_pixels
from tests.support.measured_candidates import measured
from typer.testing import CliRunner

from fairlead_cli import charts, main
from fairlead_cli.comparison import choosing, plot
from fairlead_cli.comparison.choosing import Constraints, Objective

SLOW = measured("m/cnn/v1", p50_ms=5.0, wrong=range(10), size_bytes=400_000)
QUICK = measured("m/dense/v1", p50_ms=0.5, wrong=range(60), size_bytes=100_000)


SCALE = charts.DOTS_PER_INCH // charts.POINTS_PER_INCH


def middle(pixels: np.ndarray, colour: str) -> tuple[float, float]:
    """Of what has exactly this colour within the axes, in points from the left and the top."""
    rows, columns = np.nonzero((pixels[: 360 * SCALE] == tuple(bytes.fromhex(colour[1:]))).all(axis=2))
    return float(np.median(columns)) / SCALE, float(np.median(rows)) / SCALE


def test_the_slower_candidate_is_on_the_right_and_the_better_one_above() -> None:
    found = choosing.recommend([SLOW, QUICK], Constraints(), Objective.ACCURACY)
    assert found is not None
    pixels = png_pixels.decode(plot.draw([SLOW, QUICK], Constraints(), found))
    (slow_x, slow_y), (quick_x, quick_y) = (middle(pixels, colour) for colour in charts.COLOURS[:2])
    assert quick_x + 200 < slow_x
    assert slow_y + 50 < quick_y


def test_the_recommended_candidate_alone_has_a_ring_and_the_bound_a_line() -> None:
    found = choosing.recommend([SLOW, QUICK], Constraints(), Objective.LATENCY)
    assert found is not None
    with_ring = png_pixels.decode(plot.draw([SLOW, QUICK], Constraints(), found))
    without = png_pixels.decode(plot.draw([SLOW, QUICK], Constraints(), None))
    _, columns = np.nonzero((with_ring != without).any(axis=2))
    x, _ = middle(with_ring, charts.COLOURS[1])
    assert abs(columns.mean() / SCALE - x) < 15
    bounded = png_pixels.decode(plot.draw([SLOW, QUICK], Constraints(metric_min=0.9), None))
    changed = (bounded != without).any(axis=2)[: 360 * SCALE]
    assert changed.any(axis=0).sum() > 300 * SCALE


def test_eight_candidates_with_long_names_fit_into_the_picture() -> None:
    name = "a/very/long/path/of/a/model/that/somebody/has/trained/for/a/long/time"
    many = [measured(f"{name}/v{number}", p50_ms=1 + number, size_bytes=0) for number in range(8)]
    pixels = png_pixels.decode(plot.draw(many, Constraints(), None))
    assert (pixels[-10:] == 255).all()
    assert (pixels[:, -10:] == 255).all()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("plot.svg", "the picture is a PNG; name a file such as comparison.png"),
        ("missing/plot.png", "name a file in a folder that exists"),
    ],
)
def test_a_file_that_cannot_be_the_picture_is_refused_before_anything_is_measured(
    tmp_path: pathlib.Path, given: str, why: str
) -> None:
    models = [str(tmp_path / name) for name in ("a", "b")]
    result = CliRunner().invoke(main.app, ["compare", *models, "--data", "d.npz", "--plot", str(tmp_path / given)])
    assert result.exit_code == 1
    assert " ".join(result.stderr.split()).endswith(why)
