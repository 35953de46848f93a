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
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from fairlead_runtime.config import Technique
from fairlead_runtime.model import child_process
from fairlead_runtime.model.onnx import predictor
from fairlead_runtime.model.onnx.record import KeptSignature
from fairlead_runtime.model.predictor import Predictor, Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.model.variant import FLOAT
from fairlead_runtime.optimization import comparing, graphs, labels, making, recipes, record, row_proof, samples, start

ANSWER_ROWS = 8
"""The answers to so many judged samples are kept, and each start asks for them again."""


class Request(BaseModel):
    """What variants are made of, with which techniques, into which folder, and what the process may use.

    The file `attempt` has the name of the variant that is being made; those that are `skipped` ended a process before,
    each by its name with how that ended. `tries` is the number of this making, from 1: it is a further one where the
    last one lacks a variant by chance.
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
    skipped: Mapping[str, str] = {}
    tries: int = 1
    threads: int
    seconds: float
    data_bytes: int
    parent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A variant that works; `content` is compressed.

    `correct` counts its right answers, and `score_change` is the largest one to the float model's. Its answers are not
    kept: those of all variants together may be large.
    """

    name: str
    content: bytes
    opened: Predictor
    correct: int
    score_change: float = 0.0


def main() -> None:
    request = Request.model_validate_json(sys.argv[1])
    child_process.bound(request.parent, seconds=request.seconds, threads=request.threads, data_bytes=request.data_bytes)
    try:
        result: record.Table | record.Refusal = _make(request)
    except (samples.UnusableSamplesError, labels.LabelsDontFitError, comparing.UnusableModelError) as error:
        result = record.Refusal(outcome="NoSamples", why=str(error))
    text = record.Record(key=request.key, result=result).model_dump_json()
    (request.folder / record.NAME).write_text(text)


def _make(request: Request) -> record.Table:
    signature = request.signature.signature()
    given = samples.read(request.samples, signature)
    labels.check_range(signature, given.labels)
    inputs, true = given.judged()
    content = request.model.read_bytes()

    opened = predictor.open_model(content, signature, threads=request.threads)
    expected = comparing.answer(opened, signature, inputs, true)
    labels.check_accuracy(expected.correct, expected.unknown, true)
    base = Made(name=FLOAT, content=zlib.compress(content, 6), opened=opened, correct=expected.correct)
    works, unmade = [base], []
    maker = making.Maker(content, given.calibration())

    def make(recipe: recipes.Recipe) -> Made:
        made = maker.make(recipe)
        variant = predictor.open_model(made, signature, threads=request.threads)
        answered = comparing.answer(variant, signature, inputs, true)
        return Made(
            name=recipe.name,
            content=zlib.compress(made, 6),
            opened=variant,
            correct=answered.correct,
            score_change=min(comparing.largest_change(expected, answered), sys.float_info.max),
        )

    for recipe in recipes.select(request.techniques):
        request.attempt.write_text(recipe.name)
        found = attempt(request, recipe, make, base, inputs)
        if isinstance(found, Made):
            works.append(found)
        else:
            unmade.append(found)
    request.attempt.write_text("")
    variants, more = _measure(request, signature, works, inputs)
    return record.Table(
        samples=len(true),
        most_frequent=labels.count_most_frequent(true),
        variants=tuple(variants),
        unmade=(*unmade, *more),
        answers=_write_answers(request.folder, works, inputs),
        made_s=time.time(),
        tries=request.tries,
    )


def attempt(
    request: Request, recipe: recipes.Recipe, make: Callable[[recipes.Recipe], Made], base: Made, judged: Tensors
) -> Made | record.Unmade:
    """A variant that keeps the contract of the model, or why there is none."""
    if recipe.name in request.skipped:
        why = f"making it ended the process: {request.skipped[recipe.name]}"
        return record.Unmade(name=recipe.name, why=why, is_chance=True)
    signature = request.signature.signature()
    try:
        variant = make(recipe)
        broken = comparing.breach(base.opened, variant.opened, signature)
        if broken is None and signature.is_batched:
            broken = row_proof.describe(base.opened, variant.opened, judged)
    except MemoryError:
        return record.Unmade(name=recipe.name, why="there was too little memory to make it", is_chance=True)
    except OSError as error:
        return record.Unmade(name=recipe.name, why=f"making it failed: {error.strerror}", is_chance=True)
    except (graphs.CannotMakeError, predictor.CannotOpenError, comparing.UnusableModelError) as error:
        is_chance = predictor.is_want_of_memory(str(error))
        return record.Unmade(name=recipe.name, why=str(error), is_chance=is_chance)
    return variant if broken is None else record.Unmade(name=recipe.name, why=broken)


def _measure(
    request: Request, signature: Signature, works: Sequence[Made], inputs: tuple[Any, ...]
) -> tuple[Sequence[record.Variant], Sequence[record.Unmade]]:
    """The figures of those that start in a process of their own, and why the others don't."""
    few = tuple(array[: max(comparing.ROWS)] for array in inputs)
    opened = [each.opened for each in works]
    speeds = comparing.measure(opened, few, is_batched=signature.is_batched, threads=request.threads)
    variants, unmade = [], []
    for each, speed in zip(works, speeds, strict=True):
        path = request.folder / f"{each.name}.onnx.z"
        path.write_bytes(each.content)
        try:
            started = start_alone(request, path, few)
        except start.FailedError as error:
            if each is works[0]:
                raise
            unmade.append(record.Unmade(name=each.name, why=str(error), is_chance=True))
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
                correct=each.correct,
                score_change=each.score_change,
            )
        )
    return variants, unmade


def start_alone(request: Request, path: Path, few: tuple[Any, ...]) -> start.Started:
    with tempfile.TemporaryDirectory(dir=request.folder, prefix=".start-") as folder:
        inputs = Path(folder, "inputs.npz")
        np.savez(inputs, **{f"{index:03}": array for index, array in enumerate(few)})
        asked = start.Request(
            path=path,
            inputs=inputs,
            signature=request.signature,
            threads=request.threads,
            parent=os.getpid(),
            # Both processes together have what this one may have.
            data_bytes=max(0, request.data_bytes - child_process.data_bytes()),
        )
        return start.measure(asked)


def _write_answers(folder: Path, works: Sequence[Made], inputs: tuple[Any, ...]) -> str:
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
