"""The child process that converts one model: `python -m fairlead_runtime.model.onnx.convert REQUEST` (JSON).

TensorFlow, the converter and ONNX Runtime are in this process together. It converts, compares both engines on the
trials, measures them in turns, and writes its files into the request's folder; the last one is the record. A model that
can't be converted for a known reason gives a record that says so; anything else ends the process with a traceback.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from fairlead_runtime.config import ModelFormat
from fairlead_runtime.model import child_process, loader, tensorflow_import
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.onnx import predictor, purity, record, rewriting, trials
from fairlead_runtime.model.predictor import Predictor, Tensors
from fairlead_runtime.model.predictor_function import FunctionPredictor, first_line
from fairlead_runtime.model.signature import EXAMPLE_BYTES_MAX, Signature, example_bytes, example_inputs

OPSET = 18
ROWS = (1, 32)
"""Of the calls that are measured."""
ROUNDS = 9
MEASURE_S = 10.0
"""Measuring ends after this time, with at least one round."""
BLOCK_S = 0.002
"""A round calls an engine for so long, or once."""
ANSWERS_BYTES_MAX = 4 * 1024 * 1024
_CONVERTER_ERRORS = (ValueError, TypeError, KeyError, AttributeError, AssertionError, NotImplementedError)


class Request(BaseModel):
    """What is converted, into which folder, what the process may use, and which process it ends with."""

    model_config = ConfigDict(frozen=True)
    module: ClassVar[str] = "fairlead_runtime.model.onnx.convert"
    what: ClassVar[str] = "the conversion"

    key: str
    path: Path
    format: ModelFormat | None
    signature: str | None
    bounds: Bounds
    folder: Path
    threads: int
    seconds: float
    data_bytes: int
    is_measured: bool
    parent: int


def main() -> None:
    request = Request.model_validate_json(sys.argv[1])
    child_process.bound(request.parent, seconds=request.seconds, threads=request.threads, data_bytes=request.data_bytes)
    tensorflow_import.import_complete()
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    result = _convert(request)
    text = record.Record(key=request.key, result=result).model_dump_json()
    (request.folder / record.NAME).write_text(text)


def _convert(request: Request) -> record.Converted | record.Refusal:
    checked = loader.check(request.path, request.format, request.signature, request.bounds)
    opened = loader.open_checked(checked, request.signature, threads=request.threads)
    try:
        purity.refuse_by_signature(opened.signature)
        purity.refuse_by_graph(opened.function)
        content = _to_onnx(opened)
        onnx = predictor.open_model(content, opened.signature, threads=request.threads)
    except (purity.CannotConvertError, predictor.CannotOpenError) as error:
        return record.Refusal(outcome="NotConverted", why=str(error))
    general = FunctionPredictor(opened.function, opened.signature, opened.owner)
    return _compare(request, opened, content, (general, onnx))


def _to_onnx(opened: loader.Opened) -> bytes:
    """The ONNX file; raises CannotConvertError."""
    tensorflow = tensorflow_import.import_complete()
    function, signature = opened.function, opened.signature
    inputs = [tensorflow.TensorSpec(s.shape, s.dtype.value, f"input_{i}") for i, s in enumerate(signature.inputs)]

    def call(*tensors: Any) -> list[Any]:
        results = function(**{spec.name: tensor for spec, tensor in zip(signature.inputs, tensors, strict=True)})
        return [tensorflow.identity(results[spec.name]) for spec in signature.outputs]

    convert = importlib.import_module("tf2onnx.convert")
    polymorphic = tensorflow.function(call, autograph=False)
    captures = polymorphic.get_concrete_function(*inputs).graph.captures
    try:
        model, _ = convert.from_function(polymorphic, inputs, opset=OPSET)
    except _CONVERTER_ERRORS as error:
        raise purity.CannotConvertError(f"the converter refuses it: {first_line(error)}") from None
    _bind(model.graph, {inside.name: outside for outside, inside in captures})
    rewriting.rewrite(model.graph)
    content: bytes = model.SerializeToString()
    return content


def _bind(graph: Any, captured: Mapping[str, Any]) -> None:
    """Makes constants of the tensors that the function holds; the converter has them as further inputs."""
    from_array = importlib.import_module("onnx.numpy_helper").from_array
    for given in [each for each in graph.input if each.name in captured]:
        graph.initializer.append(from_array(captured[given.name].numpy(), given.name))
        graph.input.remove(given)


def _compare(
    request: Request, opened: loader.Opened, content: bytes, engines: tuple[Predictor, Predictor]
) -> record.Converted | record.Refusal:
    answers: dict[str, Tensors] = {}
    difference, answered, left = 0.0, 0, ANSWERS_BYTES_MAX
    looks_for_nan = purity.looks_for_nan(opened.function)
    made = [trial for trial in trials.trials(opened.signature) if trial.is_finite or looks_for_nan]
    for trial in made:
        expected, got = (trials.answer(engine, trial.inputs) for engine in engines)
        if not trials.is_same(expected, got):
            return record.Refusal(outcome="NotEqual", why=trials.describe(trial, expected, got))
        if isinstance(expected, trials.Refused):
            continue
        difference = max(difference, trials.largest_difference(expected, got))
        answered += trial.is_random
        size = sum(output.nbytes for output in expected)
        if size <= left:
            left -= size
            answers[trial.key] = expected
    if answered < trials.ANSWERS_NEEDED:
        why = f"it answered {answered} random inputs, and {trials.ANSWERS_NEEDED} are needed for a comparison"
        return record.Refusal(outcome="NotEqual", why=why)
    measured: Sequence[record.Measured] = ()
    if request.is_measured:
        fastest = loader.choose(opened, threads=request.threads).predictor
        measured = measure(opened.signature, fastest, engines[1], threads=request.threads)
    return record.Converted(
        files=_write(request.folder, content, answers),
        signature=record.keep(opened.signature),
        measured=tuple(measured),
        difference=difference,
        trials=len(made),
    )


def _write(folder: Path, content: bytes, answers: dict[str, Tensors]) -> dict[str, str]:
    (folder / record.MODEL).write_bytes(content)
    arrays: dict[str, Any] = {
        f"{key}.{i}": output for key, outputs in answers.items() for i, output in enumerate(outputs)
    }
    np.savez(folder / record.ANSWERS, **arrays)
    names = (record.MODEL, record.ANSWERS)
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def measure(signature: Signature, tensorflow: Predictor, onnx: Predictor, *, threads: int) -> Sequence[record.Measured]:
    """The fastest of several blocks of each engine, in turns, so that a busy machine slows both.

    With one thread the processor's time is taken, which others disturb least; with several it would be their sum.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    deadline_s = time.monotonic() + MEASURE_S
    found: list[record.Measured] = []
    for rows in ROWS if signature.is_batched else ROWS[:1]:
        if found and _round_s(found[-1]) * rows / found[-1].rows > deadline_s - time.monotonic():
            break
        inputs = _accepted(signature, tensorflow, rows)
        if inputs is None:
            continue
        blocks: dict[Predictor, list[float]] = {tensorflow: [], onnx: []}
        for number in range(ROUNDS):
            for engine in (tensorflow, onnx) if number % 2 else (onnx, tensorflow):
                blocks[engine].append(_block(engine, inputs, clock))
            if time.monotonic() > deadline_s:
                break
        found.append(record.Measured(rows=rows, tensorflow_s=min(blocks[tensorflow]), onnx_s=min(blocks[onnx])))
    return found


def _round_s(measured: record.Measured) -> float:
    return measured.tensorflow_s + measured.onnx_s


def _accepted(signature: Signature, engine: Predictor, rows: int) -> Tensors | None:
    """An example of so many rows that the model answers."""
    for free in signature.free_sizes:
        if example_bytes(signature, rows, free=free) <= EXAMPLE_BYTES_MAX:
            inputs = example_inputs(signature, rows, seed=7, free=free)
            if not isinstance(trials.answer(engine, inputs), trials.Refused):
                return inputs
    return None


def _block(engine: Predictor, inputs: Tensors, clock: Callable[[], float]) -> float:
    started = clock()
    calls = 0
    while calls == 0 or clock() - started < BLOCK_S:
        engine(inputs)
        calls += 1
    return (clock() - started) / calls


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    main()
