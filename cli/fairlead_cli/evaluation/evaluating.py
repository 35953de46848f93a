"""From a model and a file of labelled data to the evaluation record beside the model."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import tempfile
from dataclasses import dataclass

from fairlead_cli.evaluation import labelled_data, scoring
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import allowlist, digest, evaluation_record, loader
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.evaluation_record import EvaluationRecord
from fairlead_runtime.model.predictor import LoadedModel
from fairlead_runtime.model.signature import Signature

MODEL_BYTES_MAX = 8 * 1024 * 1024 * 1024
_LIBRARIES = {"fairlead": "fairlead", "keras": "keras", "numpy": "numpy", "tensorflow": "tensorflow-cpu"}


def find_model(path: pathlib.Path) -> pathlib.Path:
    """The SavedModel's folder or the Keras file that a replica would serve. Raises EvaluationError."""
    if not path.exists():
        raise EvaluationError(f"{path}: there is no such model; name a SavedModel's folder or a .keras file")
    try:
        return loader.find_root(path.resolve())
    except LoadError as error:
        raise EvaluationError(f"{path}: {error.sentence}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """The record, and what it was made of."""

    record: EvaluationRecord
    model: LoadedModel
    data: labelled_data.LabelledData
    counts: scoring.Counts

    @property
    def signature(self) -> Signature:
        return self.model.signature


def evaluate(model: pathlib.Path, data: pathlib.Path, signature: str | None) -> Evaluated:
    """Loads the model as a replica does and counts its right answers. Raises EvaluationError."""
    model_digest = _hash_model(model)
    return assess(_load(model, signature), model_digest, data)


def assess(loaded: LoadedModel, model_digest: str, data: pathlib.Path) -> Evaluated:
    """Counts the right answers of a loaded model. Raises EvaluationError."""
    labelled = labelled_data.read(data, loaded.signature)
    counts = scoring.count(loaded, labelled)
    rows, left_out = scoring.table(counts, labelled.names)
    samples, correct = len(counts.labels), counts.correct
    record = EvaluationRecord(
        metric=evaluation_record.Metric.ACCURACY,
        value=correct / samples,
        interval=evaluation_record.wilson(correct, samples),
        samples=samples,
        correct=correct,
        signature=loaded.signature.name[:200],
        model_digest=model_digest,
        data=evaluation_record.Data(name=data.name[:200], digest=digest.hash_path(data)),
        classes=rows,
        classes_left_out=left_out,
        versions=_versions(),
    )
    return Evaluated(record=record, model=loaded, data=labelled, counts=counts)


def write(record: EvaluationRecord, model: pathlib.Path) -> pathlib.Path:
    """Writes `evaluation.json` beside the model, whole or not at all, and gives its path. Raises EvaluationError."""
    path = model.parent / evaluation_record.NAME
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".evaluation-") as folder:
            written = pathlib.Path(folder, path.name)
            written.write_text(evaluation_record.dump(record), encoding="utf-8")
            written.replace(path)
    except OSError as error:
        raise EvaluationError(f"{path} can't be written: {error.strerror}") from None
    return path


def _hash_model(model: pathlib.Path) -> str:
    try:
        return digest.hash_path(model)
    except LoadError as error:
        raise EvaluationError(f"{model}: {error.sentence}") from None


def bounds() -> Bounds:
    """Of a model that a command loads; raises LoadError where FAIRLEAD_ALLOWED_OPERATIONS is wrong."""
    return Bounds(bytes_max=MODEL_BYTES_MAX, operations=allowlist.operations_of_environment())


def _load(model: pathlib.Path, signature: str | None) -> LoadedModel:
    threads = len(os.sched_getaffinity(0))
    try:
        return loader.load(model, None, signature, bounds(), threads=threads)
    except LoadError as error:
        raise EvaluationError(f"{model}: {error.sentence}") from None
    except ModuleNotFoundError as error:
        text = f"evaluation needs the package {error.name}: install fairlead with the extra 'runtime'"
        raise EvaluationError(text) from None


def _versions() -> dict[str, str]:
    """The versions of what the result depends on."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(package) for name, package in _LIBRARIES.items()},
    }
