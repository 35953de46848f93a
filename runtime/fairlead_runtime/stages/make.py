"""The child process that cuts one model: `python -m fairlead_runtime.stages.make REQUEST` (JSON).

It reads the graph, chooses the places, writes the parts, and compares the answers of all stages with those of the whole
model. For that it needs the whole model once: it copies the weights into files of the cache's disk and maps these, so
that the kernel, not this process, decides how much of them is in memory at a time.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from fairlead_runtime.config import ModelFormat
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import child_process, loader, tensorflow_import
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.onnx import record as onnx_record
from fairlead_runtime.model.onnx import trials
from fairlead_runtime.model.predictor import Array, Predictor, Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.stages import cutting, graph, parts, record

MAPPED_BYTES_MIN = 64 * 1024
"""Smaller weights are kept in memory: each mapping takes at least a page, and their number is limited."""
FILE_BYTES_MAX = 2**40
"""Of a weight that is copied; the disk is the limit, and what is free of it was checked before."""


class Request(BaseModel):
    """What is cut into how many stages, into which folder, and what the process may use."""

    model_config = ConfigDict(frozen=True)
    module: ClassVar[str] = "fairlead_runtime.stages.make"
    what: ClassVar[str] = "cutting the model"

    key: str
    path: Path
    format: ModelFormat | None
    signature: str | None
    bounds: Bounds
    stages: int
    folder: Path
    scratch: Path
    threads: int
    seconds: float
    data_bytes: int
    parent: int


def main() -> None:
    request = Request.model_validate_json(sys.argv[1])
    child_process.bound(
        request.parent,
        seconds=request.seconds,
        threads=request.threads,
        data_bytes=request.data_bytes,
        file_bytes=FILE_BYTES_MAX,
    )
    try:
        result: record.Cut | record.Refusal = cut(request)
    except cutting.CannotCutError as error:
        result = record.Refusal(why=str(error))
    except LoadError as error:
        result = record.Refusal(why=error.sentence)
    text = record.Record(key=request.key, result=result).model_dump_json()
    (request.folder / record.NAME).write_text(text)


def cut(request: Request) -> record.Cut:
    """Writes the parts; raises CannotCutError."""
    checked = loader.check(request.path, request.format, request.signature, request.bounds)
    signature = checked.signature
    if signature is None:
        raise cutting.CannotCutError("a .keras file can't be cut: export the model as a SavedModel (model.export)")
    tensorflow_import.import_for_saved_models()
    flat = graph.flatten(loader.read_meta_graph(checked.root), signature)
    flow = graph.read_flow(flat)
    made = [parts.make(flat, flow, stage) for stage in cutting.cut(flow, request.stages)]
    files = []
    for number, (_, definition) in enumerate(made, start=1):
        content = definition.SerializeToString()
        (request.folder / record.file_name(number)).write_bytes(content)
        files.append(hashlib.sha256(content).hexdigest())
    compared, difference = _compare(request, signature, flat, made, checked.root)
    return record.Cut(
        signature=onnx_record.keep(signature),
        parts=tuple(part for part, _ in made),
        files=tuple(files),
        difference=difference,
        trials=compared,
    )


def _compare(
    request: Request, signature: Signature, flat: graph.FlatGraph, made: Sequence[tuple[parts.Part, Any]], root: Path
) -> tuple[int, float]:
    """How many answers were compared, and the largest difference; raises CannotCutError where one is another."""
    weights = {each.key: each for each in map(parts.keep, flat.variables.values())}
    read = _spill(request.scratch, weights, parts.read_checkpoint(root))
    whole = _open_whole(flat, read, threads=request.threads)
    stages = [parts.open_part(part, definition, read, threads=request.threads) for part, definition in made]
    difference, compared, answered = 0.0, 0, 0
    for trial in _trials(request, signature):
        expected, got = trials.answer(whole, trial.inputs), trials.answer(_chain(stages), trial.inputs)
        if not trials.is_same(expected, got):
            text = f"the stages together don't answer {trial.name} as the whole model does, so it can't be cut"
            raise cutting.CannotCutError(f"{text}: leave spec.optimization.parallelism out")
        compared += 1
        difference = max(difference, trials.largest_difference(expected, got))
        answered += trial.is_random and not isinstance(expected, trials.Refused)
    if answered < trials.ANSWERS_NEEDED:
        text = f"it answered {answered} random inputs, and {trials.ANSWERS_NEEDED} are needed for a comparison, so it"
        raise cutting.CannotCutError(f"{text} can't be cut: leave spec.optimization.parallelism out")
    return compared, difference


def _trials(request: Request, signature: Signature) -> Iterator[trials.Trial]:
    """The examples first; of the others those of finite numbers."""
    path = request.folder / record.EXAMPLES
    if path.exists():
        with np.load(path, allow_pickle=False) as arrays:
            for number in range(len(arrays.files) // len(signature.inputs)):
                inputs = tuple(arrays[f"{number}.{i}"] for i in range(len(signature.inputs)))
                yield trials.Trial(key=f"example-{number}", name="an example", inputs=inputs)
    deadline_s = time.monotonic() + request.seconds / 2
    for trial in trials.trials(signature):
        # Half of the time is for what comes first; the random inputs are the first of these.
        if trial.is_finite and (trial.is_random or time.monotonic() < deadline_s):
            yield trial


def _chain(stages: Sequence[Predictor]) -> Predictor:
    def call(inputs: Tensors) -> Tensors:
        for stage in stages:
            inputs = stage(inputs)
        return inputs

    return call


def _open_whole(flat: graph.FlatGraph, read: parts.ReadWeight, *, threads: int) -> Predictor:
    """The graph as it was saved, with its calls of functions."""
    names = {node.name for node in flat.original.node}
    variables = [parts.keep(each) for each in flat.variables.values() if each.handle in names]
    return parts.open_graph(flat.original, variables, flat.feeds, flat.fetches, read, threads)


def _spill(folder: Path, weights: Mapping[str, parts.KeptVariable], read_weight: parts.ReadWeight) -> parts.ReadWeight:
    """Copies the weights into files, one after the other, and maps these: each map begins at the start of a page."""
    held: dict[str, Array] = {}
    for number, (key, variable) in enumerate(weights.items()):
        array = np.ascontiguousarray(read_weight(variable)).reshape(variable.shape)
        if array.nbytes < MAPPED_BYTES_MIN:
            held[key] = array
            continue
        path = folder / f"weight-{number}"
        array.tofile(path)
        held[key] = np.memmap(path, dtype=array.dtype, mode="r", shape=array.shape)
    return lambda variable: held[variable.key]


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    main()
