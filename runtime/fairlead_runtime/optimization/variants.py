"""The variants of a model on this node: made once for each content and set of techniques, kept in the cache of models.

The bounds of spec.optimization are no part of the key: what was measured is kept, and each replica judges by its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairlead_runtime.config import Optimization, Technique
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import loader, room
from fairlead_runtime.model.cache import Cache, Held, is_full, sync
from fairlead_runtime.model.child_process import FILE_BYTES_MAX
from fairlead_runtime.model.onnx import child, conversions, predictor, trials
from fairlead_runtime.model.onnx import record as conversion_record
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.model.variant import FLOAT, VariantChoice, VariantReason, Varied, Vary
from fairlead_runtime.optimization import judging, recipes, record, samples
from fairlead_runtime.optimization.make import Request

LOG = logging.getLogger(__name__)
ONE_AT_A_TIME = "optimization"
"""Optimizations of a node wait for each other. Conversions go on beside them."""
LEAST_BYTES = 512 * room.MIB
"""With less memory, no variants are made."""


class NoVariantsError(Exception):
    """There are none this time; the text says why. The next start tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What was measured, and the files, as long as `lease` is open."""

    table: record.Table
    folder: Path
    lease: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What variants are made of, how long that may take, and when it was asked for, as a Unix time."""

    key: str
    samples: Path
    signature: Signature
    techniques: tuple[Technique, ...]
    content: bytes
    base: conversions.Wanted
    deadline_s: float
    asked_s: float


def vary(wanted: conversions.Wanted, cache: Cache, bounds: Optimization) -> Vary:
    """What picks the variant of a converted model."""

    def pick(conversion: conversions.Conversion, signature: Signature, left_s: float) -> Varied:
        beside = loader.find_root(wanted.fetched.path).parent / samples.NAME
        if loader.find_root(wanted.fetched.path) == wanted.fetched.path or not beside.is_file():
            why = f"there is no file {samples.NAME} beside the model, which variants are judged by"
            return _float(VariantReason.NO_SAMPLES, why)
        try:
            found = find_or_make(wanted, cache, bounds.techniques, conversion.content, signature, beside, left_s)
        except NoVariantsError as error:
            return _float(VariantReason.NOT_PREPARED, str(error))
        if isinstance(found, record.Refusal):
            return _float(VariantReason(found.outcome), found.why)
        return _open(found, judging.judge(found.table, bounds).choice, signature, threads=wanted.threads)

    return pick


def _float(reason: VariantReason, why: str) -> Varied:
    return Varied(choice=VariantChoice(name=FLOAT, reason=reason, why=f"the float model serves, as {why}"))


def _open(kept: Kept, choice: VariantChoice, signature: Signature, *, threads: int) -> Varied:
    if choice.name == FLOAT:
        kept.lease.close()
        return Varied(choice=choice)
    variant = next(each for each in kept.table.variants if each.name == choice.name)
    try:
        compressed = (kept.folder / variant.file).read_bytes()
        if hashlib.sha256(compressed).hexdigest() != variant.digest:
            raise ValueError("its file has changed")
        opened = predictor.open_model(_decompress(compressed), signature, threads=threads)
        answers = _answers((kept.folder / record.ANSWERS).read_bytes())
    except (OSError, zlib.error, ValueError, predictor.CannotOpenError) as error:
        return _float(VariantReason.NOT_PREPARED, f"{choice.name} can't be opened: {error}")
    if not trials.is_same(answers[choice.name], trials.answer(opened, answers["input"])):
        return _float(VariantReason.NOT_PREPARED, f"{choice.name} gives other answers than when it was made")
    return Varied(choice=choice, predictor=opened, lease=kept.lease)


def _decompress(content: bytes) -> bytes:
    """Raises ValueError for more than an ONNX file can have."""
    unpacker = zlib.decompressobj()
    found = unpacker.decompress(content, FILE_BYTES_MAX)
    if unpacker.unconsumed_tail:
        raise ValueError(f"it has more than {FILE_BYTES_MAX} bytes")
    return found


def _answers(content: bytes) -> Mapping[str, Tensors]:
    found: dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for name in sorted(arrays.files):
            found.setdefault(name.partition(".")[0], []).append(arrays[name])
    return {name: tuple(each) for name, each in found.items()}


def find_or_make(  # noqa: PLR0913 - what a variant is made of
    wanted: conversions.Wanted,
    cache: Cache,
    techniques: tuple[Technique, ...],
    content: bytes,
    signature: Signature,
    beside: Path,
    left_s: float,
) -> Kept | record.Refusal:
    """The variants that are kept, or made now within so many seconds; raises NoVariantsError."""
    asked = _Wanted(
        key=_key(wanted, techniques),
        samples=beside,
        signature=signature,
        techniques=tuple(recipe.technique for recipe in recipes.select(techniques)),
        content=content,
        base=wanted,
        deadline_s=time.monotonic() + left_s,
        asked_s=time.time(),
    )
    try:
        with cache.exclusive(asked.key, left_s, what="optimizing this model"):
            found = _find(asked.key, cache)
            if found is not None and not record.is_due(_result(found), asked.asked_s, time.time()):
                return found
            try:
                return _make_in_turn(asked, cache, found)
            except NoVariantsError as error:
                if not isinstance(found, Kept):
                    raise
                LOG.warning("what failed by chance can't be tried again, and the other variants serve: %s", error)
                return found
    except (LoadError, OSError) as error:
        raise _no_variants(error) from None


def _result(found: Kept | record.Refusal) -> record.Table | record.Refusal:
    return found.table if isinstance(found, Kept) else found


def _make_in_turn(asked: _Wanted, cache: Cache, earlier: Kept | record.Refusal | None) -> Kept | record.Refusal:
    """Raises NoVariantsError."""
    try:
        left_s = max(0.0, asked.deadline_s - time.monotonic())
        with cache.exclusive(ONE_AT_A_TIME, left_s, what="optimizing another model"):
            return _make(asked, cache, earlier)
    except (LoadError, OSError) as error:
        raise _no_variants(error) from None


def _no_variants(error: LoadError | OSError) -> NoVariantsError:
    if isinstance(error, LoadError):
        return NoVariantsError(error.sentence)
    reason = "the disk is full" if is_full(error) else str(error.strerror)
    return NoVariantsError(f"the variants can't be kept: {reason}")


def _key(wanted: conversions.Wanted, techniques: tuple[Technique, ...]) -> str:
    """The content's digest covers the samples, which lie beside the model."""
    parts = {
        "conversion": wanted.key(is_measured=False),
        "recipes": [recipe.name for recipe in recipes.select(techniques)],
        "revision": recipes.REVISION,
    }
    return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _find(key: str, cache: Cache) -> Kept | record.Refusal | None:
    read: list[record.Record] = []

    def verify(entry: Path) -> Path | None:
        kept = record.read(entry / record.NAME)
        if kept is None or kept.key != key:
            return None
        if isinstance(kept.result, record.Refusal):
            is_over = kept.result.until_s is not None and not (
                0 < kept.result.until_s - time.time() <= conversions.TIMEOUT_KEPT_S
            )
            if is_over:
                return None
        else:
            digests = {each.file: each.digest for each in kept.result.variants} | {record.ANSWERS: kept.result.answers}
            for name, expected in digests.items():
                if "/" in name or hashlib.sha256((entry / name).read_bytes()).hexdigest() != expected:
                    return None
        read.append(kept)
        return entry

    found = cache.find(key, verify)
    if found is None:
        return None
    result = read[0].result
    if isinstance(result, record.Refusal):
        return result
    return Kept(table=result, folder=found.path, lease=found.lease)


def _make(asked: _Wanted, cache: Cache, earlier: Kept | record.Refusal | None) -> Kept | record.Refusal:
    environment = asked.base.environment
    tries = 1 if earlier is None else _result(earlier).tries + 1
    with cache.scratch_folder() as work:
        entry, model = work / "entry", work / "model.onnx"
        entry.mkdir()
        model.write_bytes(asked.content)
        request = Request(
            key=asked.key,
            model=model,
            samples=asked.samples,
            signature=conversion_record.keep(asked.signature),
            techniques=asked.techniques,
            folder=entry,
            attempt=work / "attempt",
            threads=asked.base.threads,
            tries=tries,
            seconds=max(0.0, asked.deadline_s - time.monotonic()),
            data_bytes=0,
            parent=os.getpid(),
        )
        try:
            _run(request, asked, cache)
        except room.NoRoomError as error:
            raise NoVariantsError(str(error)) from None
        except child.ChildFailedError as error:
            if isinstance(earlier, Kept):
                return _put_off(earlier, asked.key, tries, error)
            refusal = record.Refusal(outcome="NotPrepared", why=str(error))
            if not isinstance(error, child.TookTooLongError):
                refusal = refusal.model_copy(update={"is_chance": True, "made_s": time.time(), "tries": tries})
            elif request.seconds < conversions.TIMEOUT_KEPT_FROM * environment.convert_s / 2:
                raise NoVariantsError(str(error)) from None
            else:
                refusal = refusal.model_copy(update={"until_s": time.time() + conversions.TIMEOUT_KEPT_S})
            entry = work / "refusal"
            entry.mkdir()
            _write(entry, asked.key, refusal)
        sync(entry)
        cache.discard(asked.key)
        cache.publish(entry, record.NAME, asked.key).lease.close()
    found = _find(asked.key, cache)
    if found is None:
        raise NoVariantsError("the variants were removed or damaged right after they were made")
    cache.make_room(0)
    return found


def _run(request: Request, asked: _Wanted, cache: Cache) -> None:
    """Again without the variant that ended the process, as a library does that fails an assertion."""
    need = room.Need(
        what="an optimization",
        least_bytes=LEAST_BYTES,
        most_bytes=asked.base.environment.convert_bytes,
        # Where this can't be left, a conversion that starts meanwhile waits.
        leaves_bytes=conversions.LEAST_BYTES,
    )
    skipped: dict[str, str] = {}

    def ask(data_bytes: int) -> Request:
        left_s = max(0.0, asked.deadline_s - time.monotonic())
        changes = {"data_bytes": data_bytes, "seconds": left_s, "skipped": dict(skipped)}
        return request.model_copy(update=changes)

    while True:
        try:
            return child.run_in_room(cache, need, ask, asked.deadline_s)
        except child.TookTooLongError:
            raise
        except child.ChildFailedError as error:
            tried = request.attempt.read_text() if request.attempt.exists() else ""
            if not tried or tried in skipped:
                raise
            skipped[tried] = str(error)


def _put_off(kept: Kept, key: str, tries: int, error: child.ChildFailedError) -> Kept:
    """The variants that there are, after a try for the others that failed; the next one comes later."""
    LOG.warning("what failed by chance failed again, and the other variants serve: %s", error)
    table = kept.table.model_copy(update={"made_s": time.time(), "tries": tries})
    _write(kept.folder, key, table)
    return Kept(table=table, folder=kept.folder, lease=kept.lease)


def _write(entry: Path, key: str, result: record.Table | record.Refusal) -> None:
    """Whole or not at all."""
    path = entry / f"{record.NAME}.new"
    path.write_text(record.Record(key=key, result=result).model_dump_json())
    path.replace(entry / record.NAME)
