"""The child process that exports one model: `python -m fairlead_cli.exporting.litert REQUEST` (JSON).

It loads the model as a replica does, converts it for LiteRT, calls both on the same rows and writes the file and the
result into the request's folder. A model that can't be exported for a known reason gives a result that says so.
"""

from __future__ import annotations

import math
import pathlib
import re
import resource
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fairlead_cli.evaluation import evaluating, labelled_data
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_runtime.errors import LoadError, one_sentence
from fairlead_runtime.model import child_process, digest, evaluation_record, loader, tensorflow_import
from fairlead_runtime.model.onnx import trials
from fairlead_runtime.model.predictor import InputRefusedError, LoadedModel, Predictor, Tensors
from fairlead_runtime.model.predictor_function import FunctionPredictor
from fairlead_runtime.model.signature import DType, Signature

MODEL, RESULT = "model.tflite", "result.json"
KEY = "serving_default"
"""The name of the signature in the file: the only one, whatever the model's own is called."""

ROWS_COMPARED, ROWS_OF_A_CALL = 1024, 32
_LOOPS = ("TensorList", "tensor list", "tf.While", "while_loop")
_OPERATION = re.compile(r"'?(?:tf\.|Flex)([A-Z]\w+)")
_UNROLL = (
    "LiteRT can't run its recurrent layer, which is a loop over the time steps: build the same network with "
    "unroll=True and without dropout in its LSTM, GRU and SimpleRNN layers, copy the weights (set_weights), and export "
    "that"
)


class Request(BaseModel):
    """What is exported, into which folder, what the process may use, and which process it ends with."""

    model_config = ConfigDict(frozen=True)

    model: pathlib.Path
    data: pathlib.Path | None
    signature: str | None
    folder: pathlib.Path
    seconds: float
    memory_bytes: int = Field(ge=1)
    threads: int = Field(ge=1)
    parent: int


class Result(BaseModel):
    """`refused` is the reason for which there is no file."""

    model_config = ConfigDict(frozen=True)

    refused: str | None = None
    compared_rows: int = 0
    difference: float = 0.0
    record: evaluation_record.EvaluationRecord | None = None
    tensorflow_value: float = 0.0
    same_predictions: int = 0


class CannotExportError(Exception):
    """The text says why, and what to do."""


class LiteRtPredictor:
    """The file, called by the interpreter of LiteRT that TensorFlow brings. For one thread at a time."""

    def __init__(self, content: bytes, signature: Signature, *, threads: int) -> None:
        tensorflow = tensorflow_import.import_complete()
        self._interpreter = tensorflow.lite.Interpreter(model_content=content, num_threads=threads)
        self._run = self._interpreter.get_signature_runner(KEY)
        self._inputs = tuple((spec.name, spec.dtype.numpy) for spec in signature.inputs)
        self._outputs = tuple(spec.name for spec in signature.outputs)

    def __call__(self, inputs: Tensors) -> Tensors:
        named = zip(self._inputs, inputs, strict=True)
        given = {name: np.ascontiguousarray(value, dtype=dtype) for (name, dtype), value in named}
        try:
            results = self._run(**given)
        except (ValueError, RuntimeError) as error:
            raise InputRefusedError(one_sentence(str(error))) from None
        return tuple(np.asarray(results[name]) for name in self._outputs)


def main() -> None:
    request = Request.model_validate_json(sys.argv[1])
    _bound_this_process(request)
    try:
        result = _export(request)
    except LoadError as error:
        result = Result(refused=error.sentence)
    except (CannotExportError, EvaluationError) as error:
        result = Result(refused=str(error))
    except MemoryError:
        text = f"the export takes more than {request.memory_bytes} bytes of memory (--memory-limit)"
        result = Result(refused=text)
    (request.folder / RESULT).write_text(result.model_dump_json(by_alias=True))


def _bound_this_process(request: Request) -> None:
    child_process.end_with_parent(request.parent)
    seconds = math.ceil(request.seconds * request.threads)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 10))
    resource.setrlimit(resource.RLIMIT_DATA, (request.memory_bytes, request.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _export(request: Request) -> Result:
    bounds = evaluating.bounds()
    checked = loader.check(request.model, None, request.signature, bounds)
    if checked.signature is not None:
        _refuse_texts(checked.signature)
    opened = loader.open_checked(checked, request.signature, threads=request.threads)
    _refuse_texts(opened.signature)
    content = convert(opened)
    path = request.folder / MODEL
    path.write_bytes(content)
    engines: tuple[Predictor, Predictor] = (
        FunctionPredictor(opened.function, opened.signature, opened.owner),
        LiteRtPredictor(content, opened.signature, threads=request.threads),
    )
    if request.data is None:
        rows, difference = _compare(engines, _random_inputs(opened.signature))
        if rows < trials.ANSWERS_NEEDED:
            raise CannotExportError("the model refuses random inputs, so nothing can be compared: give it --data")
        return Result(compared_rows=rows, difference=difference)
    inputs = labelled_data.read(request.data, opened.signature).inputs
    rows, difference = _compare(engines, _batches(inputs))
    tensorflow, litert = (
        evaluating.assess(LoadedModel(signature=opened.signature, predictor=engine, kind=""), hashed, request.data)
        for engine, hashed in zip(engines, (digest.hash_path(checked.root), digest.hash_path(path)), strict=True)
    )
    pairs = zip(tensorflow.counts.predicted, litert.counts.predicted, strict=True)
    return Result(
        compared_rows=rows,
        difference=difference,
        record=litert.record,
        tensorflow_value=tensorflow.record.value,
        same_predictions=sum(one == other for one, other in pairs),
    )


def _refuse_texts(signature: Signature) -> None:
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if spec.dtype is DType.STRING:
                text = f"its {kind} {spec.name!r} holds texts, which LiteRT can't take"
                raise CannotExportError(f"{text}: export the part of the model behind the vocabulary, with token ids")


def convert(opened: loader.Opened) -> bytes:
    """The file, whose inputs and outputs have the model's names. Raises CannotExportError."""
    tensorflow = tensorflow_import.import_complete()
    function, signature = opened.function, opened.signature

    def call(**tensors: Any) -> dict[str, Any]:
        results = function(**tensors)
        return {spec.name: tensorflow.identity(results[spec.name]) for spec in signature.outputs}

    inputs = {s.name: tensorflow.TensorSpec(s.shape, s.dtype.value, s.name) for s in signature.inputs}
    concrete = tensorflow.function(call, autograph=False).get_concrete_function(**inputs)
    owner = tensorflow.Module()
    owner.model = opened.owner
    # Of a Keras file: a variable that the owner doesn't have is written to the file without its value.
    owner.values = list(concrete.variables)
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([concrete], owner)
    # The error of the converter has no public name. Source: tensorflow/lite/python/convert_phase.py
    refused = tensorflow_import.import_part("lite.python.convert_phase").ConverterError
    try:
        content: bytes = converter.convert()
    except refused as error:
        raise CannotExportError(describe_refusal(str(error))) from None
    return content


def describe_refusal(error: str) -> str:
    """What the converter's pages of text mean for the model, and what to do."""
    if any(sign in error for sign in _LOOPS):
        return _UNROLL
    operations = sorted(set(_OPERATION.findall(error)))
    if operations:
        named = ", ".join(operations[:5])
        return f"LiteRT has no kernel for {named}: build the model without, or keep it on TensorFlow"
    return f"the converter refuses it: {one_sentence(error)}"


def _compare(engines: tuple[Predictor, Predictor], batches: Iterator[Tensors]) -> tuple[int, float]:
    """The rows that both answered, and the largest difference. Raises CannotExportError where they differ."""
    rows, difference = 0, 0.0
    for inputs in batches:
        expected, got = (trials.answer(engine, inputs) for engine in engines)
        if isinstance(expected, trials.Refused):
            continue
        if isinstance(got, trials.Refused):
            raise CannotExportError("LiteRT refuses rows that TensorFlow answers, so the file was not written")
        found = trials.largest_difference(expected, got)
        if not trials.is_same(expected, got):
            text = f"LiteRT's outputs differ from TensorFlow's by up to {found:.3g}, beyond the rounding of floats"
            raise CannotExportError(f"{text}, so the file was not written")
        rows, difference = rows + len(inputs[0]), max(difference, found)
    return rows, difference


def _random_inputs(signature: Signature) -> Iterator[Tensors]:
    return (trial.inputs for trial in trials.trials(signature) if trial.is_random)


def _batches(inputs: Tensors) -> Iterator[Tensors]:
    for start in range(0, min(ROWS_COMPARED, len(inputs[0])), ROWS_OF_A_CALL):
        yield tuple(array[start : start + ROWS_OF_A_CALL] for array in inputs)


if __name__ == "__main__":
    main()
