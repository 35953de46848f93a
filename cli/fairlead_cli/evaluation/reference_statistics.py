"""Statistics of the data that a model was trained on, and of its answers, to which live requests are compared."""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fairlead_cli.evaluation import attributions, guard_bounds
from fairlead_cli.evaluation.evaluating import Evaluated
from fairlead_cli.evaluation.labelled_data import Array, LabelledData
from fairlead_cli.evaluation.scoring import Counts
from fairlead_runtime import sketches
from fairlead_runtime.inference import tops
from fairlead_runtime.model import digest, reference_statistics, row_features
from fairlead_runtime.model.reference_statistics import ClassFeature, NumberFeature, ReferenceStatistics, Vocabulary
from fairlead_runtime.model.row_features import RowReader
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
LABELS_MAX = 1000
BINS = 10
"""Bins of a feature's values, where each has as many of the reference rows."""

ROWS_READ_MAX = 100_000
"""Of a larger reference a random choice of this size is read for the bins."""

EXPLAINED_ROWS = 1000
"""So many rows are explained for the reference of attributions."""

EDGE_ROWS_MAX = 2000
_SEED = 0


def compute(
    evaluated: Evaluated, training: LabelledData, source: pathlib.Path, *, explained: int = EXPLAINED_ROWS
) -> dict[str, Any]:
    """The content of `statistics.json`: what a replica reads, and a summary of each input for people.

    Inputs are those of the training data. Answers are those to the data that the model was evaluated on: a model
    is more certain of what it was trained on than of any request. So are the attributions, of at most `explained` rows.
    """
    signature = evaluated.signature
    labels, counts = np.unique(training.labels, return_counts=True)
    shares = zip(labels[:LABELS_MAX].tolist(), counts[:LABELS_MAX].tolist(), strict=True)
    pairs = zip(signature.inputs, training.inputs, strict=True)
    score, predicted = bin_answers(evaluated.counts)
    vocabularies, rows = bin_rows(signature, training.inputs)
    binned = ReferenceStatistics(
        model_digest=evaluated.record.model_digest,
        signature=evaluated.record.signature,
        features=(*rows, *score),
        predicted=predicted,
        vocabularies=vocabularies,
        guards=guard_bounds.compute(
            signature, training.inputs, random_order(len(training.labels)), evaluated.counts, vocabularies
        ),
        attributions=attributions.compute(
            evaluated.model,
            training.inputs[0],
            evaluated.data.inputs[0],
            random_order(len(evaluated.data.labels))[:explained],
        ),
    )
    return {
        **binned.model_dump(by_alias=True, mode="json"),
        "data": {"name": source.name, "digest": digest.hash_path(source)},
        "samples": len(training.labels),
        "inputs": {spec.name: _of_input(spec, array) for spec, array in pairs},
        "labels": {str(label): count for label, count in shares},
    }


def bin_rows(signature: Signature, inputs: Sequence[Array]) -> tuple[tuple[Vocabulary, ...], tuple[NumberFeature, ...]]:
    """Each feature of the rows, and the vocabularies that features of texts need.

    Of a random order of the rows, half gives the vocabularies where there are texts. Of the others the first half gives
    the edges and the second is counted, so that the counts are a sample that neither depends on.
    """
    order = random_order(len(inputs[0]))
    vocabularies = tuple(
        _vocabulary(index, inputs[index], order[: len(order) // 2])
        for index in RowReader(signature, {}).inputs
        if signature.inputs[index].dtype is DType.STRING
    )
    reader = RowReader(signature, {each.input: frozenset(each.words) for each in vocabularies})
    counted = order[len(order) // 2 :] if vocabularies else order
    values = np.array([reader.read(tuple(inputs), row) for row in counted], np.float64)
    pairs = zip(reader.names, values.T, strict=True)
    return vocabularies, tuple(_bin(name, column) for name, column in pairs)


def random_order(rows: int) -> list[int]:
    """The rows that are read, in a random order that is always the same."""
    order: list[int] = np.random.default_rng(_SEED).permutation(rows)[:ROWS_READ_MAX].tolist()
    return order


def _vocabulary(index: int, texts: Array, rows: Iterable[int]) -> Vocabulary:
    counts = Counter(word for row in rows for word in row_features.words(texts[row : row + 1].reshape(-1)))
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[: reference_statistics.WORDS_MAX]
    return Vocabulary(input=index, words=tuple(sorted(frequent)))


def bin_answers(counts: Counts) -> tuple[list[NumberFeature], ClassFeature | None]:
    """The scores, and the predicted classes where the model gives classes."""
    order = np.random.default_rng(_SEED).permutation(len(counts.labels))[:ROWS_READ_MAX]
    score = [_bin(reference_statistics.SCORE, np.array(counts.scores, np.float64)[order])] if counts.scores else []
    if counts.kind is not tops.Kind.CLASS:
        return score, None
    frequent = Counter(each for each in counts.predicted if each is not None).most_common(
        reference_statistics.CLASSES_MAX
    )
    classes = sorted(each for each, _ in frequent)
    if not classes:
        return score, None
    values = (tops.NO_CLASS if each is None else each for each in counts.predicted)
    sketch = sketches.of_classes(reference_statistics.CLASS, classes)
    return score, ClassFeature(classes=tuple(classes), counts=_count(values, sketch.add, sketch.counts))


def _bin(name: str, values: Array) -> NumberFeature:
    """`values` are in a random order."""
    first = min(len(values) // 2, EDGE_ROWS_MAX)
    edges = _edges(values[:first])
    sketch = sketches.of_numbers(name, edges)
    return NumberFeature(name=name, edges=edges, counts=_count(values[first:].tolist(), sketch.add, sketch.counts))


def _count(values: Iterable[float], add: Callable[[float], None], counts: Sequence[int]) -> tuple[int, ...]:
    for value in values:
        add(value)
    return tuple(counts)


def _edges(values: Array) -> tuple[float, ...]:
    """Quantiles that are values themselves. One that comes up twice is so frequent that it gets a bin of its own."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ()
    quantiles = np.quantile(finite, np.arange(1, BINS) / BINS, method="inverted_cdf")
    found, repeats = np.unique(quantiles, return_counts=True)
    below = np.nextafter(found[repeats > 1], -np.inf)
    return tuple(np.unique(np.concatenate([found, below])).tolist())


def _of_input(spec: TensorSpec, array: Array) -> dict[str, Any]:
    if spec.dtype is DType.STRING:
        lengths = np.array([len(value) for value in array.reshape(-1).tolist()])
        return {"datatype": spec.dtype.value, "lengthBytes": _of_numbers(lengths)}
    return {"datatype": spec.dtype.value, "values": _of_numbers(array.reshape(-1))}


def _of_numbers(values: Array) -> dict[str, Any]:
    numbers = values.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    head: dict[str, Any] = {"count": len(numbers), "notFinite": len(numbers) - len(finite)}
    if not len(finite):
        return head
    quantiles = dict(zip(map(str, QUANTILES), np.quantile(finite, QUANTILES).tolist(), strict=True))
    return {
        **head,
        "mean": float(finite.mean()),
        "standardDeviation": float(finite.std()),
        "min": float(finite.min()),
        "max": float(finite.max()),
        "quantiles": quantiles,
    }
