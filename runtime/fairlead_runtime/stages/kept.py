"""The cut of a model on this node: made once for each content, kept in the cache of models, verified when read."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import loader, room, tensorflow_import
from fairlead_runtime.model.cache import Cache, Held, is_full, sync
from fairlead_runtime.model.onnx import child
from fairlead_runtime.model.onnx.conversions import ONE_AT_A_TIME, Wanted
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.stages import parts, record
from fairlead_runtime.stages.make import Request

LEAST_BYTES = 512 * room.MIB
"""With less memory, not even a small model is cut."""
REVISION = 1
"""Of the cut. Raise it with each change of what is made or refused: kept cuts are then made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCut:
    """A cut whose parts lie in `folder` as long as `lease` is open; the weights are those of `checked`."""

    cut: record.Cut
    folder: Path
    checked: loader.Checked
    lease: Held

    def open_stage(self, number: int, *, threads: int) -> parts.PartPredictor:
        """The part of a stage, counted from 1, with its weights in memory."""
        tensorflow_import.import_for_saved_models()
        definition = tensorflow_import.import_part("core.framework.graph_pb2").GraphDef()
        definition.ParseFromString((self.folder / record.file_name(number)).read_bytes())
        read = parts.read_checkpoint(self.checked.root)
        return parts.open_part(self.cut.parts[number - 1], definition, read, threads=threads)


def find_or_make(
    wanted: Wanted, checked: loader.Checked, stages: int, examples: Sequence[Tensors], cache: Cache
) -> KeptCut:
    """Raises LoadError: CannotCut for the model's fault, CutFailed for what may work later."""
    content = _pack(examples)
    key = _key(wanted, stages, content)
    seconds = wanted.environment.convert_s
    deadline_s = time.monotonic() + seconds
    try:
        with cache.exclusive(key, seconds, what="cutting this model"):
            found = _find(key, checked, cache)
            if found is None:
                left_s = max(0.0, deadline_s - time.monotonic())
                with cache.exclusive(ONE_AT_A_TIME, left_s, what="converting another model"):
                    _make(wanted, key, stages, content, cache, deadline_s)
                found = _find(key, checked, cache)
    except OSError as error:
        reason = "the disk is full" if is_full(error) else str(error.strerror)
        raise LoadError(LoadReason.CUT_FAILED, f"the parts of the model can't be kept: {reason}") from None
    if found is None:
        raise LoadError(
            LoadReason.CUT_FAILED, "the parts of the model were removed or damaged right after they were made"
        )
    if isinstance(found, record.Refusal):
        raise LoadError(LoadReason.CANNOT_CUT, found.why)
    return found


def _pack(examples: Sequence[Tensors]) -> bytes:
    if not examples:
        return b""
    arrays: dict[str, Any] = {
        f"{number}.{i}": array for number, inputs in enumerate(examples) for i, array in enumerate(inputs)
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _key(wanted: Wanted, stages: int, examples: bytes) -> str:
    """As a digest, so that the cache keeps a cut as it keeps a model."""
    made = {
        "cut": REVISION,
        "content": wanted.fetched.digest,
        "signature": wanted.source.signature,
        "stages": stages,
        "examples": hashlib.sha256(examples).hexdigest(),
        "tensorflow": tensorflow_import.version(),
    }
    return "sha256:" + hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def _find(key: str, checked: loader.Checked, cache: Cache) -> KeptCut | record.Refusal | None:
    read: list[record.Cut | record.Refusal] = []

    def verify(entry: Path) -> Path | None:
        kept = record.read(entry / record.NAME)
        if kept is None or kept.key != key:
            return None
        if isinstance(kept.result, record.Cut):
            for number, digest in enumerate(kept.result.files, start=1):
                if hashlib.sha256((entry / record.file_name(number)).read_bytes()).hexdigest() != digest:
                    return None
        read.append(kept.result)
        return entry

    found = cache.find(key, verify)
    if found is None:
        return None
    result = read[0]
    if isinstance(result, record.Refusal):
        return result
    return KeptCut(cut=result, folder=found.path, checked=checked, lease=found.lease)


def _make(wanted: Wanted, key: str, stages: int, examples: bytes, cache: Cache, deadline_s: float) -> None:
    environment = wanted.environment
    try:
        need = room.Need(what="cutting a model", least_bytes=LEAST_BYTES, most_bytes=environment.convert_bytes)
        data_bytes = room.find(need)
    except room.NoRoomError as error:
        raise LoadError(LoadReason.CUT_FAILED, str(error)) from None
    # The whole model's weights are copied once, for the comparison.
    cache.make_room(sum(path.stat().st_size for path in wanted.fetched.path.rglob("*") if path.is_file()))
    with cache.scratch_folder() as work:
        entry, scratch = work / "entry", work / "scratch"
        entry.mkdir()
        scratch.mkdir()
        if examples:
            (entry / record.EXAMPLES).write_bytes(examples)
        request = Request(
            key=key,
            path=wanted.fetched.path,
            format=wanted.source.format,
            signature=wanted.source.signature,
            bounds=wanted.bounds,
            stages=stages,
            folder=entry,
            scratch=scratch,
            threads=wanted.threads,
            seconds=max(0.0, deadline_s - time.monotonic()),
            data_bytes=data_bytes,
            parent=os.getpid(),
        )
        try:
            child.run(request)
        except child.ChildFailedError as error:
            raise LoadError(LoadReason.CUT_FAILED, str(error)) from None
        sync(entry)
        cache.publish(entry, record.NAME, key).lease.close()
    cache.make_room(0)
