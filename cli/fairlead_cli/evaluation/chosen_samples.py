"""Some rows of the labelled data, as the file `samples.npz` that a replica reads."""

from __future__ import annotations

import io
import pathlib
import tempfile
import zipfile
from collections.abc import Mapping

import numpy as np

from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_cli.evaluation.labelled_data import Array, LabelledData
from fairlead_runtime.model.signature import DType, Signature
from fairlead_runtime.optimization import labels, samples

_SEED = 0
_HEADS_BYTES = 1024 * 1024
"""More than the archive has beside the numbers, also where they can't be compressed."""
_TIME = (1980, 1, 1, 0, 0, 0)


def choose(signature: Signature, data: LabelledData, count: int) -> bytes:
    """At most `count` rows in a random order; raises EvaluationError for what no replica would read."""
    texts = [spec.name for spec in signature.inputs if spec.dtype is DType.STRING]
    if texts:
        raise EvaluationError(
            f"the model's input {texts[0]!r} holds texts, and such a model has no variants: leave --samples out"
        )
    order = np.random.default_rng(_SEED).permutation(len(data.labels))[:count]
    arrays = {spec.name: array[order] for spec, array in zip(signature.inputs, data.inputs, strict=True)}
    content = _pack({**arrays, samples.LABELS: data.labels[order]})
    with tempfile.TemporaryDirectory(prefix="fairlead-samples-") as folder:
        path = pathlib.Path(folder, samples.NAME)
        path.write_bytes(content)
        try:
            labels.check_range(signature, samples.read(path, signature).labels)
        except (samples.UnusableSamplesError, labels.LabelsDontFitError) as error:
            raise EvaluationError(f"no replica would take {count} rows of the data as samples: {error}") from None
    return content


def count_fitting(data: LabelledData) -> int:
    """How many rows, at most all, a replica reads whatever their content is."""
    row_bytes = sum(array.nbytes for array in (*data.inputs, data.labels)) / len(data.labels)
    room_bytes = min(samples.FILE_BYTES_MAX, samples.ARRAYS_BYTES_MAX) - _HEADS_BYTES
    return min(len(data.labels), samples.ROWS_MAX, max(1, int(room_bytes / row_bytes)))


def _pack(arrays: Mapping[str, Array]) -> bytes:
    """As numpy.savez_compressed, without the times of the files: the same rows give the same bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, array in sorted(arrays.items()):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
            packed.writestr(zipfile.ZipInfo(f"{name}.npy", _TIME), entry.getvalue(), zipfile.ZIP_DEFLATED)
    return file.getvalue()
