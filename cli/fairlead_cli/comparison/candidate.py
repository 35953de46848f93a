"""The child process that has one candidate: `python -m fairlead_cli.comparison.candidate REQUEST` (JSON).

It prepares the model as a replica does, then evaluates it once, or calls it as the parent asks. Each answer is a line
of JSON; one with `error` is the last one.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import sys
import time
import typing
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fairlead_cli.comparison.figures import ROWS
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_runtime import config
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import child_process, digest, prepare
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.prepare import PreparedModel

BLOCK_S = 0.2
"""A round calls the model for so long, and at least CALLS_MIN times."""
CALLS_MIN, CALLS_MAX = 5, 2_000
RIGHT, FIRST_ROWS = "right.npy", "rows.npz"
"""Written by the evaluation: whether each sample was predicted right, and the rows that the calls are made with."""
MEMORY = "memory"
Answer = Callable[[Mapping[str, Any]], None]


class Request(BaseModel):
    """What is prepared, from what and into which folder, what the process may use, and which process it ends with."""

    model_config = ConfigDict(frozen=True)

    model: pathlib.Path
    signature: str | None
    engine: config.EngineMode
    threads: int = Field(ge=1)
    data: pathlib.Path
    folder: pathlib.Path
    cache: pathlib.Path
    memory_bytes: int = Field(ge=1)
    is_evaluation: bool
    parent: int


def main() -> None:
    request = Request.model_validate_json(sys.argv[1])
    child_process.end_with_parent(request.parent)
    answer = _take_output()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    # The soft limit alone: the process that converts a model sets its own one.
    resource.setrlimit(resource.RLIMIT_DATA, (request.memory_bytes, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if request.is_evaluation:
            _evaluate(request, answer)
        else:
            _serve(request, answer)
    except LoadError as error:
        answer({"error": error.sentence})
    except EvaluationError as error:
        answer({"error": str(error)})
    except MemoryError:
        answer({"error": f"it takes more than {request.memory_bytes} bytes of memory (--memory-limit)"})
    except ModuleNotFoundError as error:
        answer({"error": f"it needs the package {error.name}: install fairlead with the extra 'runtime'"})


def _take_output() -> Answer:
    """Standard output is for answers alone: what libraries print there goes to standard error."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return lambda found: print(json.dumps(found), file=output, flush=True)


def _prepare(request: Request) -> PreparedModel:
    raw = {
        "schemaVersion": config.SCHEMA_VERSION,
        "namespace": "default",
        "model": "candidate",
        "revision": "a" * 10,
        "revisionNumber": 1,
        "source": {"uri": request.model.as_uri(), "signature": request.signature},
        "engine": request.engine.value,
        "warmup": {"batchSizes": ROWS},
    }
    environment = config.Environment(cache_dir=request.cache)
    return prepare.prepare(config.parse(raw), None, environment, threads=request.threads)


def _evaluate(request: Request, answer: Answer) -> None:
    from fairlead_cli.evaluation import evaluating
    from fairlead_runtime.inference import tops

    prepared = _prepare(request)
    found = evaluating.assess(prepared.model, digest.hash_path(request.model), request.data)
    classes, highest = tops.class_count(found.signature), max(found.counts.labels)
    if classes is not None and highest >= classes:
        text = f"{request.data}: 'labels' holds {highest}, but the model has {classes} classes"
        raise EvaluationError(f"{text}: its labels must be from 0 to {classes - 1}")
    right = [label == value for label, value in zip(found.counts.labels, found.counts.predicted, strict=True)]
    np.save(request.folder / RIGHT, np.array(right, dtype=bool))
    rows = {
        spec.name: array[: max(ROWS)].astype(bytes) if array.dtype == object else array[: max(ROWS)]
        for spec, array in zip(found.signature.inputs, found.data.inputs, strict=True)
    }
    np.savez(request.folder / FIRST_ROWS, labels=found.data.labels[: max(ROWS)], **typing.cast(Any, rows))
    answer({"record": found.record.model_dump(mode="json", by_alias=True)})


def _serve(request: Request, answer: Answer) -> None:
    from fairlead_cli.evaluation import labelled_data

    begun_s = time.perf_counter()
    prepared = _prepare(request)
    choice = prepared.engine
    load_s = time.perf_counter() - begun_s
    answer({"load_s": load_s, "engine": choice.engine.value, "why": f"{choice.reason.value}: {choice.why}"})
    data = labelled_data.read(request.folder / FIRST_ROWS, prepared.model.signature)
    count = len(data.labels)
    calls: dict[int, list[Tensors]] = {}
    for rows in ROWS:
        starts = range(count) if rows == 1 else range(1)
        calls[rows] = [
            tuple(np.take(array, np.arange(start, start + rows) % count, axis=0) for array in data.inputs)
            for start in starts
        ]
    for line in sys.stdin:
        asked = line.strip()
        if asked == MEMORY:
            answer(_memory())
        else:
            answer(_call(prepared, calls[int(asked)]))


def _call(prepared: PreparedModel, inputs: list[Tensors]) -> Mapping[str, Any]:
    """The times of the calls of one round."""
    call = prepared.model.predictor
    spent_s: list[float] = []
    call(inputs[0])
    end_s = time.perf_counter() + BLOCK_S
    while len(spent_s) < CALLS_MAX:
        given = inputs[len(spent_s) % len(inputs)]
        begun_s = time.perf_counter()
        call(given)
        now_s = time.perf_counter()
        spent_s.append(now_s - begun_s)
        if now_s > end_s and len(spent_s) >= CALLS_MIN:
            break
    p50, p99 = np.quantile(spent_s, (0.5, 0.99), method="inverted_cdf").tolist()
    return {"p50_s": p50, "p99_s": p99, "calls": len(spent_s)}


def _memory() -> Mapping[str, int]:
    """What is resident, and the share of it that is this process's own (PSS), in bytes.

    Source: proc_pid_smaps(5), smaps_rollup. A page of a library that n processes map counts 1/n in the PSS, so what
    else runs on the machine changes it; what is resident does not.
    """
    fields = (line.split() for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    sizes = {name: 1024 * int(size) for name, size, *_ in fields}
    return {"rss_bytes": sizes["Rss:"], "pss_bytes": sizes["Pss:"]}


if __name__ == "__main__":
    main()
