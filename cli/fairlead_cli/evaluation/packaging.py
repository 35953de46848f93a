"""From a model to one archive that can be deployed, and the manifest that deploys it."""

from __future__ import annotations

import gzip
import io
import json
import pathlib
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairlead_cli.evaluation import chosen_samples, evaluating, labelled_data
from fairlead_cli.evaluation import reference_statistics as computed_statistics
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_runtime.errors import LoadError
from fairlead_runtime.inference import codec
from fairlead_runtime.model import digest, evaluation_record, reference_statistics
from fairlead_runtime.model.evaluation_record import EvaluationRecord
from fairlead_runtime.optimization import samples
from fairlead_runtime.protocols import datatypes

EXAMPLE, STATISTICS = "example.json", reference_statistics.NAME
MANIFEST = """apiVersion: fairlead.dev/v1alpha1
kind: ModelDeployment
metadata:
  name: {name}
spec:
  model:
    uri: {uri}
    digest: {digest}
"""
REQUIREMENT = """  rollout:
    requireEvaluation: {{metric: {metric}, min: {least}}}
"""
DIGITS_OF_NAME = 8
"""Of the digest, at the end of the name of an archive."""
_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """The archive, its digest (as spec.model.digest pins it) and the record that lies in it."""

    path: pathlib.Path
    digest: str
    record: EvaluationRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What an archive may hold besides model, record and example.

    `reference` is the data that the model was trained on, for the statistics, and `explained` how many rows of the
    labelled data are explained for them. So many `samples` of the labelled data are put in, for variants of the model.
    """

    reference: pathlib.Path | None = None
    explained: int = computed_statistics.EXPLAINED_ROWS
    samples: int = 0


def package(
    model: pathlib.Path, data: pathlib.Path, extras: Extras, out: pathlib.Path, signature: str | None
) -> Package:
    """Evaluates the model and packs it with record, example and extras. Raises EvaluationError."""
    evaluated = evaluating.evaluate(model, data, signature)
    beside: dict[str, bytes] = {
        evaluation_record.NAME: evaluation_record.dump(evaluated.record).encode(),
        EXAMPLE: _json(_example(evaluated)).encode(),
    }
    if extras.reference is not None:
        known = labelled_data.read(extras.reference, evaluated.signature)
        statistics = computed_statistics.compute(evaluated, known, extras.reference, explained=extras.explained)
        beside[STATISTICS] = _dump_statistics(statistics).encode()
    if extras.samples:
        beside[samples.NAME] = chosen_samples.choose(evaluated.signature, evaluated.data, extras.samples)
    _pack(model, beside, out)
    return Package(path=out, digest=digest.hash_path(out), record=evaluated.record)


def _example(evaluated: evaluating.Evaluated) -> dict[str, Any]:
    """A request of one row of the data, as `POST /v2/models/NAME/infer` takes it."""
    pairs = zip(evaluated.signature.inputs, evaluated.data.inputs, strict=True)
    inputs = [
        {
            "name": spec.name,
            "shape": list(array[:1].shape),
            "datatype": datatypes.NAMES[spec.dtype],
            "data": _values(array[:1].reshape(-1)),
        }
        for spec, array in pairs
    ]
    return {"inputs": inputs}


def _values(row: codec.Array) -> list[Any]:
    if row.dtype.kind == "O":
        return [value.decode() for value in row.tolist()]
    return [None if isinstance(value, float) and not np.isfinite(value) else value for value in row.tolist()]


def name_by_digest(made: Package) -> Package:
    """The package under a name of its own, as replicas may read the archive of an older revision again."""
    stem = made.path.name.removesuffix(".tar.gz")
    named = made.path.with_name(f"{stem}-{made.digest.partition(':')[2][:DIGITS_OF_NAME]}.tar.gz")
    return replace(made, path=made.path.replace(named))


def manifest(made: Package, *, name: str, uri: str | None, least: float | None) -> str:
    """The ModelDeployment that serves the package from `uri`, by default from the disk of this machine.

    With `least` it requires a record whose interval is not below that: of this version and of the next ones.
    """
    text = MANIFEST.format(
        name=name, uri=json.dumps(uri if uri is not None else made.path.resolve().as_uri()), digest=made.digest
    )
    if least is None:
        return text
    return text + REQUIREMENT.format(metric=made.record.metric.value, least=f"{least:g}")


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _dump_statistics(document: Mapping[str, Any]) -> str:
    """As a replica reads it, without spaces, as its size is bounded; raises EvaluationError for what is refused."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"
    try:
        reference_statistics.parse(text.encode())
    except reference_statistics.UnreadableStatisticsError as error:
        raise EvaluationError(f"no replica would read the reference statistics: {error}") from None
    return text


def _pack(model: pathlib.Path, beside: Mapping[str, bytes], out: pathlib.Path) -> None:
    """The same content gives the same bytes: names are sorted, and there are no times and no owners."""
    try:
        names = digest.list_files(model) if model.is_dir() else []
        with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix=".package-") as folder:
            written = pathlib.Path(folder, "package")
            with (
                written.open("wb") as raw,
                gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
            ):
                for name in sorted(names):
                    _add_file(archive, f"{model.name}/{name}", model / name)
                if not model.is_dir():
                    _add_file(archive, model.name, model)
                for name, content in sorted(beside.items()):
                    _add(archive, name, io.BytesIO(content), len(content))
            written.replace(out)
    except LoadError as error:
        raise EvaluationError(f"{model}: {error.sentence}") from None
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{out} can't be written: {error}") from None


def _add_file(archive: tarfile.TarFile, name: str, path: pathlib.Path) -> None:
    with path.open("rb") as file:
        _add(archive, name, file, path.stat().st_size)


def _add(archive: tarfile.TarFile, name: str, content: Any, size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, _FILE_MODE
    archive.addfile(entry, content)
