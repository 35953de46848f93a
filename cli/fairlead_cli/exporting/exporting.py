"""Converts a model in a process of its own, bounded in time and memory, and puts what it made in its place."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from fairlead_cli.evaluation import evaluating
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_cli.exporting.litert import MODEL, RESULT, Request, Result
from fairlead_runtime.errors import one_sentence
from fairlead_runtime.model import child_process, evaluation_record
from fairlead_runtime.model.evaluation_record import EvaluationRecord

LOG_BYTES_SHOWN = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is exported where. `seconds` and `memory_bytes` bound the process that does it."""

    model: pathlib.Path
    output: pathlib.Path
    data: pathlib.Path | None
    signature: str | None
    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written; `difference` is the largest one between two outputs. A record is made with data alone."""

    size_bytes: int
    model_bytes: int
    compared_rows: int
    difference: float
    record: EvaluationRecord | None = None
    record_path: pathlib.Path | None = None
    tensorflow_value: float = 0.0
    same_predictions: int = 0


def export(plan: Plan) -> Exported:
    """Writes the file, and with data the record beside it, or neither. Raises EvaluationError."""
    root = evaluating.find_model(plan.model)
    if plan.data is not None and not plan.data.is_file():
        raise EvaluationError(f"{plan.data}: there is no such file; --data must be a .npz file of labelled data")
    if plan.output.is_dir() or not plan.output.parent.is_dir():
        raise EvaluationError(f"{plan.output}: name a file in a folder that exists")
    try:
        # In the same folder, so that the finished file is moved in one step.
        with tempfile.TemporaryDirectory(dir=plan.output.parent, prefix=".export-") as work:
            return _export(plan, root, pathlib.Path(work))
    except OSError as error:
        raise EvaluationError(f"{plan.output} can't be written: {error.strerror}") from None


def _export(plan: Plan, root: pathlib.Path, folder: pathlib.Path) -> Exported:
    result = _run(plan, root, folder)
    if result.refused is not None:
        raise EvaluationError(f"{plan.model}: {result.refused}")
    size_bytes = (folder / MODEL).stat().st_size
    record_path = plan.output.with_suffix(f".{evaluation_record.NAME}")
    if result.record is not None:
        # The record first: a file without its record says less than a record that no file has.
        (folder / evaluation_record.NAME).write_text(evaluation_record.dump(result.record), encoding="utf-8")
        (folder / evaluation_record.NAME).replace(record_path)
    else:
        # One of another export would not be of this file.
        record_path.unlink(missing_ok=True)
    (folder / MODEL).replace(plan.output)
    return Exported(
        size_bytes=size_bytes,
        model_bytes=_size(root),
        compared_rows=result.compared_rows,
        difference=result.difference,
        record=result.record,
        record_path=None if result.record is None else record_path,
        tensorflow_value=result.tensorflow_value,
        same_predictions=result.same_predictions,
    )


def _run(plan: Plan, root: pathlib.Path, folder: pathlib.Path) -> Result:
    """The process, until it ends or its time is over."""
    request = Request(
        model=root,
        data=None if plan.data is None else plan.data.resolve(),
        signature=plan.signature,
        folder=folder.resolve(),
        seconds=plan.seconds,
        memory_bytes=plan.memory_bytes,
        threads=len(os.sched_getaffinity(0)),
        parent=os.getpid(),
    )
    command = [sys.executable, "-m", "fairlead_cli.exporting.litert", request.model_dump_json()]
    environment = child_process.environment(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS=str(request.threads))
    log = folder / "log"
    with log.open("wb") as written:
        try:
            ended = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                timeout=plan.seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EvaluationError(f"{plan.model}: the export took longer than {plan.seconds:g} s (--timeout)") from None
    if ended.returncode == 0:
        return Result.model_validate_json((folder / RESULT).read_bytes())
    raise EvaluationError(_describe_end(plan, ended.returncode, log))


def _describe_end(plan: Plan, code: int, log: pathlib.Path) -> str:
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_BYTES_SHOWN))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    last = f": {one_sentence(lines[-1])}" if lines else ""
    limit = f"it may have needed more than {plan.memory_bytes} bytes of memory (--memory-limit)"
    return f"{plan.model}: the process of the export ended with {how}{f'; {limit}' if code < 0 else ''}{last}"


def _size(root: pathlib.Path) -> int:
    """Bytes of the model's files."""
    files = [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)
