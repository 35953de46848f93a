"""Makes and measures the variants of a model on this machine, as a replica would."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead_cli.evaluation import chosen_samples, evaluating, labelled_data
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_runtime.config import Environment, Optimization, Source
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import digest, loader
from fairlead_runtime.model.cache import Cache, Fetched, Held
from fairlead_runtime.model.onnx import conversions, purity
from fairlead_runtime.model.onnx import record as conversion_record
from fairlead_runtime.optimization import judging, record, samples, variants

CACHE_BYTES = 64 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured: the model, the labelled data, and what may serve. `seconds` bounds conversion and variants."""

    model: pathlib.Path
    data: pathlib.Path
    signature: str | None
    bounds: Optimization
    threads: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The figures and what they lead to; `engines` are the times of TensorFlow and ONNX Runtime in the same rounds."""

    table: record.Table
    judged: judging.Judged
    engines: Sequence[conversion_record.Measured]


def measure(plan: Plan, progress: Callable[[str], None]) -> Found:
    """Raises EvaluationError."""
    model = evaluating.find_model(plan.model)
    with tempfile.TemporaryDirectory(prefix="fairlead-optimize-") as work:
        cache = Cache(pathlib.Path(work, "cache"), bytes_max=CACHE_BYTES)
        lease = Held(os.open(work, os.O_RDONLY | os.O_DIRECTORY))
        try:
            wanted = conversions.Wanted(
                fetched=Fetched(path=model, digest=digest.hash_path(model), lease=lease),
                source=Source(uri=model.as_uri(), signature=plan.signature),
                bounds=evaluating.bounds(),
                threads=plan.threads,
                environment=Environment(cache_dir=pathlib.Path(work, "cache"), convert_s=plan.seconds),
                is_measured=True,
            )
            checked = loader.check(model, None, plan.signature, wanted.bounds)
            if checked.signature is not None:
                purity.refuse_by_signature(checked.signature)
            # Before the conversion, which takes longer, where the signature is known without TensorFlow.
            data = None if checked.signature is None else labelled_data.read(plan.data, checked.signature)
            return _measure(plan, wanted, cache, _Given(beside=pathlib.Path(work, samples.NAME), data=data), progress)
        except LoadError as error:
            raise EvaluationError(f"{plan.model}: {error.sentence}") from None
        except purity.CannotConvertError as error:
            raise _stays_error(plan, str(error)) from None
        finally:
            lease.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """Where the samples are written for the process that reads them, and the labelled data if they are read already."""

    beside: pathlib.Path
    data: labelled_data.LabelledData | None


def _measure(
    plan: Plan, wanted: conversions.Wanted, cache: Cache, given: _Given, progress: Callable[[str], None]
) -> Found:
    progress("converting the model for ONNX Runtime")
    try:
        conversion = conversions.find_or_make(wanted, cache)
    except conversions.NoConversionError as error:
        raise EvaluationError(f"{plan.model} can't be converted: {error}") from None
    if isinstance(conversion, conversion_record.Refusal):
        raise _stays_error(plan, conversion.why)
    signature = conversion.record.signature.signature()
    data = given.data or labelled_data.read(plan.data, signature)
    count = chosen_samples.count_fitting(data)
    if count < len(data.labels):
        progress(f"taking {count} of the {len(data.labels)} rows, chosen at random")
    given.beside.write_bytes(chosen_samples.choose(signature, data, count))
    progress("making and measuring the variants")
    try:
        kept = variants.find_or_make(
            wanted, cache, plan.bounds.techniques, conversion.content, signature, given.beside, plan.seconds
        )
    except variants.NoVariantsError as error:
        raise EvaluationError(f"{plan.model}: {error}") from None
    if isinstance(kept, record.Refusal):
        about = plan.data if kept.outcome == "NoSamples" else plan.model
        raise EvaluationError(f"{about}: {kept.why}")
    judged = judging.judge(kept.table, plan.bounds)
    return Found(table=kept.table, judged=judged, engines=conversion.record.measured)


def _stays_error(plan: Plan, why: str) -> EvaluationError:
    return EvaluationError(f"{plan.model} has no variants, as it stays on TensorFlow: {why}")
