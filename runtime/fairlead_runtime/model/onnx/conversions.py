"""The conversion of a model on this node: made once for each content, kept in the cache of models, verified when read.

Its key is made of what was converted and by what: the content's digest, the signature, the versions of TensorFlow, the
converter and ONNX Runtime, and the processor, since the speed of both engines was measured on it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairlead_runtime.config import Environment, Source
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import room
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache, Fetched, Held, is_full, sync
from fairlead_runtime.model.onnx import child, record, trials
from fairlead_runtime.model.onnx.convert import Request
from fairlead_runtime.model.predictor import Tensors

ONE_AT_A_TIME = "conversion"
"""Conversions of a node wait for each other: each takes hundreds of MB, and serving replicas need the processors."""
LEAST_BYTES = 768 * room.MIB
"""With less memory, not even a small model is converted."""
REVISION = 4
"""Of the conversion. Raise it with each change of what is made or refused: kept conversions are then made again."""
TIMEOUT_KEPT_S = 3600.0
"""So long no start tries again to convert a model that took too long."""
TIMEOUT_KEPT_FROM = 0.9
"""A conversion that waited for another one, and so had less than this part of the limit, proves nothing by its end."""
_PACKAGES = (("tensorflow-cpu", "tensorflow"), ("keras",), ("tf2onnx",), ("onnx",), ("onnxruntime",))


class NoConversionError(Exception):
    """There is none this time; the text says why. The next start tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A converted model that gave TensorFlow's answers; `answers` are those, by the key of their trial."""

    content: bytes
    answers: Mapping[str, Tensors]
    record: record.Converted
    lease: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is converted, and what the child process may use; `is_measured`: whether the engines' times are needed."""

    fetched: Fetched
    source: Source
    bounds: Bounds
    threads: int
    environment: Environment
    is_measured: bool

    def key(self, *, is_measured: bool) -> str:
        """As a digest, so that the cache keeps a conversion as it keeps a model."""
        parts = {
            "content": self.fetched.digest,
            "signature": self.source.signature,
            "threads": self.threads,
            "measured": is_measured,
            "revisions": [REVISION, trials.REVISION],
            "versions": [_version(names) for names in _PACKAGES],
            "processor": _processor(),
        }
        return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def find_or_make(wanted: Wanted, cache: Cache) -> Conversion | record.Refusal:
    """Raises NoConversionError."""
    content = wanted.key(is_measured=False)
    # One limit for all that a start waits for: the operator gives a candidate 600 s, unless set otherwise.
    deadline_s = time.monotonic() + wanted.environment.convert_s
    try:
        with cache.exclusive(content, wanted.environment.convert_s, what="converting this model"):
            found = _find_usable(wanted, cache)
            if found is not None:
                return found
            left_s = max(0.0, deadline_s - time.monotonic())
            with cache.exclusive(ONE_AT_A_TIME, left_s, what="converting another model"):
                return _make(wanted, cache, deadline_s)
    except LoadError as error:
        # The disk is full, or another replica of this node converts it for longer than it may.
        raise NoConversionError(error.sentence) from None
    except OSError as error:
        reason = "the disk is full" if is_full(error) else str(error.strerror)
        raise NoConversionError(f"the conversion can't be kept: {reason}") from None


def _find_usable(wanted: Wanted, cache: Cache) -> Conversion | record.Refusal | None:
    """Also one that was made with measured times where none are needed, and what was refused without."""
    for is_measured in (True, False):
        found = _find(wanted.key(is_measured=is_measured), cache)
        if isinstance(found, record.Refusal) or (found is not None and (is_measured or not wanted.is_measured)):
            return found
    return None


def _find(key: str, cache: Cache) -> Conversion | record.Refusal | None:
    read: list[tuple[record.Record, dict[str, bytes]]] = []

    def verify(entry: Path) -> Path | None:
        kept = record.read(entry / record.NAME)
        if kept is None or kept.key != key or _is_over(kept.result):
            return None
        files: dict[str, bytes] = {}
        if isinstance(kept.result, record.Converted):
            files = {name: (entry / name).read_bytes() for name in (record.MODEL, record.ANSWERS)}
            if {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} != kept.result.files:
                return None
        read.append((kept, files))
        return entry

    found = cache.find(key, verify)
    if found is None:
        return None
    kept, files = read[0]
    if isinstance(kept.result, record.Refusal):
        return kept.result
    return Conversion(
        content=files[record.MODEL], answers=_answers(files[record.ANSWERS]), record=kept.result, lease=found.lease
    )


def _is_over(result: record.Converted | record.Refusal) -> bool:
    """Whether it was to count for some time, and that is over, or the clock was set back since."""
    if isinstance(result, record.Converted) or result.until_s is None:
        return False
    return not 0 < result.until_s - time.time() <= TIMEOUT_KEPT_S


def _answers(content: bytes) -> dict[str, Tensors]:
    by_trial: dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for name in arrays.files:
            by_trial.setdefault(name.rpartition(".")[0], []).append(arrays[name])
    return {trial: tuple(outputs) for trial, outputs in by_trial.items()}


def _make(wanted: Wanted, cache: Cache, deadline_s: float) -> Conversion | record.Refusal:
    key = wanted.key(is_measured=wanted.is_measured)
    need = room.Need(what="a conversion", least_bytes=LEAST_BYTES, most_bytes=wanted.environment.convert_bytes)
    with cache.scratch_folder() as work:
        entry = work / "entry"
        entry.mkdir()

        def ask(data_bytes: int) -> Request:
            return Request(
                key=key,
                path=wanted.fetched.path,
                format=wanted.source.format,
                signature=wanted.source.signature,
                bounds=wanted.bounds,
                folder=entry,
                threads=wanted.threads,
                seconds=max(0.0, deadline_s - time.monotonic()),
                data_bytes=data_bytes,
                is_measured=wanted.is_measured,
                parent=os.getpid(),
            )

        try:
            child.run_in_room(cache, need, ask, deadline_s)
        except child.TookTooLongError as error:
            if error.seconds < TIMEOUT_KEPT_FROM * wanted.environment.convert_s:
                raise NoConversionError(str(error)) from None
            entry = _refusal(work / "refusal", key, str(error))
        except (child.ChildFailedError, room.NoRoomError) as error:
            raise NoConversionError(str(error)) from None
        sync(entry)
        cache.publish(entry, record.NAME, key).lease.close()
    found = _find(key, cache)
    if found is None:
        raise NoConversionError("the conversion was removed or damaged right after it was made")
    cache.make_room(0)
    return found


def _refusal(entry: Path, key: str, why: str) -> Path:
    """The folder with a refusal that counts for some time."""
    refusal = record.Refusal(outcome="NotConverted", why=why, until_s=time.time() + TIMEOUT_KEPT_S)
    entry.mkdir()
    (entry / record.NAME).write_text(record.Record(key=key, result=refusal).model_dump_json())
    return entry


def _version(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise NoConversionError(f"the package {names[0]} is not installed")


def _processor() -> str:
    """The lines of /proc/cpuinfo that name the first processor and what it can do."""
    names = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return "unknown"
    return "\n".join(line for line in lines if line.partition("\t")[0].partition(":")[0].strip() in names)
