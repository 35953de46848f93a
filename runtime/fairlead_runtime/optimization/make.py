"""The child process that makes the variants: `python -m fairlead_runtime.optimization.make REQUEST` (JSON).

ONNX Runtime and its tools are in this process, and no TensorFlow. It makes each variant from the converted model,
compares it with that on the samples, measures all of them in turns, and writes its files into the request's folder; the
last one is the record. Samples that can't be used give a record that says so.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from fairlead_runtime.config import Technique
from fairlead_runtime.model import child_process
from fairlead_runtime.model.onnx import predictor
from fairlead_runtime.model.onnx.record import KeptSignature
from fairlead_runtime.model.predictor import Predictor
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.model.variant import FLOAT
from fairlead_runtime.optimization import comparing, graphs, making, recipes, record, samples, start

ANSWER_ROWS = 8
"""The answers to so many judged samples are kept, and each start asks for them again."""


class Request(BaseModel):
    """What variants are made of, with which techniques, into which folder, and what the process may use.

    The file `attempt` has the name of the variant that is being made; those that are `skipped` ended a process before.
    """

    model_config = ConfigDict(frozen=True)
    module: ClassVar[str] = "fairlead_runtime.optimization.make"
    what: ClassVar[str] = "the optimization"

    key: str
    model: Path
    samples: Path
    signature: KeptSignature
    techniques: tuple[Technique, ...]
    folder: Path
    attempt: Path
    skipped: tuple[str, ...] = ()
    threads: int
    seconds: float
    data_bytes: int
    parent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A variant that works; `content` is compressed."""

    name: str
    content: bytes
    opened: Predictor
    answered: comparing.Answered


def main() -> None:
    request = Request.model_validate_json(sys.argv[1])
    child_process.bound(request.parent, seconds=request.seconds, threads=request.threads, data_bytes=request.data_bytes)
    try:
        result: record.Table | record.Refusal = _make(request)
    except (samples.UnusableSamplesError, comparing.UnusableModelError) as error:
        result = record.Refusal(outcome="NoSamples", why=str(error))
    text = record.Record(key=request.key, result=result).model_dump_json()
    (request.folder / record.NAME).write_text(text)


def _make(request: Request) -> record.Table:
    signature = request.signature.signature()
    given = samples.read(request.samples, signature)
    inputs, labels = given.judged()
    content = request.model.read_bytes()

    def try_out(name: str, made: bytes) -> _Made:
        opened = predictor.open_model(made, signature, threads=request.threads)
        answered = comparing.answer(opened, signature, inputs, labels)
        return _Made(name=name, content=zlib.compress(made, 6), opened=opened, answered=answered)

    base = try_out(FLOAT, content)
    works, unmade = [base], []
    maker = making.Maker(content, given.calibration())
    for recipe in recipes.select(request.techniques):
        if recipe.name in request.skipped:
            unmade.append(record.Unmade(name=recipe.name, why="making it ended the process"))
            continue
        request.attempt.write_text(recipe.name)
        try:
            variant = try_out(recipe.name, maker.make(recipe))
            why = comparing.breach(base.opened, variant.opened, signature)
        except (graphs.CannotMakeError, predictor.CannotOpenError, comparing.UnusableModelError) as error:
            why = str(error)
        if why is None:
            works.append(variant)
        else:
            unmade.append(record.Unmade(name=recipe.name, why=why))
    request.attempt.write_text("")
    return _measure(request, signature, works, unmade, inputs)


def _measure(
    request: Request,
    signature: Signature,
    works: Sequence[_Made],
    unmade: Sequence[record.Unmade],
    inputs: tuple[Any, ...],
) -> record.Table:
    few = tuple(array[: max(comparing.ROWS)] for array in inputs)
    opened = [each.opened for each in works]
    speeds = comparing.measure(opened, few, is_batched=signature.is_batched, threads=request.threads)
    variants = []
    for each, speed in zip(works, speeds, strict=True):
        path = request.folder / f"{each.name}.onnx.z"
        path.write_bytes(each.content)
        try:
            started = _start(request, path, few)
        except start.FailedError as error:
            if each is works[0]:
                raise
            unmade = [*unmade, record.Unmade(name=each.name, why=str(error))]
            continue
        variants.append(
            record.Variant(
                name=each.name,
                file=path.name,
                digest=hashlib.sha256(each.content).hexdigest(),
                size_bytes=len(each.content),
                rss_bytes=started.rss_bytes,
                start_s=started.start_s,
                speeds=tuple(speed),
                correct=each.answered.correct,
                score_change=min(comparing.largest_change(works[0].answered, each.answered), sys.float_info.max),
            )
        )
    return record.Table(
        samples=sum(len(outputs[0]) for outputs in works[0].answered.outputs),
        variants=tuple(variants),
        unmade=tuple(unmade),
        answers=_write_answers(request.folder, works, inputs),
    )


def _start(request: Request, path: Path, few: tuple[Any, ...]) -> start.Started:
    with tempfile.TemporaryDirectory(dir=request.folder, prefix=".start-") as folder:
        inputs = Path(folder, "inputs.npz")
        np.savez(inputs, **{f"{index:03}": array for index, array in enumerate(few)})
        asked = start.Request(
            path=path, inputs=inputs, signature=request.signature, threads=request.threads, parent=os.getpid()
        )
        return start.measure(asked)


def _write_answers(folder: Path, works: Sequence[_Made], inputs: tuple[Any, ...]) -> str:
    """The inputs of a few samples, and what each variant answers."""
    few = tuple(array[:ANSWER_ROWS] for array in inputs)
    arrays = {f"input.{index:03}": array for index, array in enumerate(few)}
    for each in works:
        arrays.update({f"{each.name}.{index:03}": output for index, output in enumerate(each.opened(few))})
    path = folder / record.ANSWERS
    np.savez(path, **arrays)
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
