"""What a large model takes while it is loaded, beyond what a small one takes.

Keras makes a layer with random numbers before it reads the layer's own, so a Keras file takes more than a SavedModel.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import large_models


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("kind", "mebibytes", "most"),
    [
        pytest.param("SavedModel", 512, 1.3, id="SavedModel"),
        pytest.param("Keras", 512, 1.7, id="Keras"),
        pytest.param("SavedModel", 2304, 1.3, id="more than 2 GiB"),
    ],
)
def test_a_large_model_takes_little_more_than_its_variables_while_it_is_loaded(
    tmp_path: Path, kind: str, mebibytes: int, most: float
) -> None:
    peaks = {}
    for size in (0, mebibytes):
        path = tmp_path / (f"{size}.keras" if kind == "Keras" else str(size))
        large_models.make(kind, size, path)
        peaks[size] = large_models.measure_peak_bytes(path)
    grown, variables = peaks[mebibytes] - peaks[0], mebibytes << 20
    print(f"{kind}: {mebibytes} MiB of variables took {grown / 2**20:.0f} MiB; {grown / variables:.2f} times")
    assert variables / 2 < grown < most * variables, peaks
