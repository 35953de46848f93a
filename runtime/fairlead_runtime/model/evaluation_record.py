"""The evaluation record: how good a model was on labelled data, as `evaluation.json` beside the model has it.

`fairlead evaluate` writes the file, a replica reads it; docs/evaluation.md describes its schema.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from fairlead_runtime.errors import LoadError, one_sentence
from fairlead_runtime.model import digest

NAME = "evaluation.json"
SCHEMA_VERSION = 1
BYTES_MAX = 1024 * 1024
CLASSES_MAX = 1000
SAMPLES_MAX = 10_000_000
LEVEL = 0.95
_TOLERANCE = 1e-6

_Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
_Ratio = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0, le=SAMPLES_MAX)]
_Text = Annotated[str, Field(max_length=200)]


class UnreadableRecordError(Exception):
    """A file is no evaluation record of this version; the text is one sentence that says what is wrong."""


class _Part(BaseModel):
    """Fields that this version doesn't know are ignored: a later version of the same schema only adds."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", allow_inf_nan=False
    )


class Metric(StrEnum):
    """What was measured; higher is better."""

    ACCURACY = "Accuracy"
    """The share of samples for which the model's top prediction is the label."""


class Interval(_Part):
    """Where the metric is likely to be on all data of the same kind as the samples."""

    method: Literal["Wilson"] = "Wilson"
    level: Annotated[float, Field(ge=LEVEL, le=LEVEL)] = LEVEL
    low: _Ratio
    high: _Ratio


class Data(_Part):
    """The file that the model was evaluated on."""

    name: _Text
    digest: _Digest


class ClassRow(_Part):
    """One class: `samples` have this label, `correct` of them were predicted so, `predicted` counts the predictions."""

    label: Annotated[int, Field(ge=0)]
    name: _Text
    samples: _Count
    correct: _Count
    predicted: _Count

    @property
    def recall(self) -> float | None:
        """The share of the class's samples that were found; None without samples."""
        return self.correct / self.samples if self.samples else None

    @property
    def precision(self) -> float | None:
        """The share of right ones among the predictions of this class; None without predictions."""
        return self.correct / self.predicted if self.predicted else None


class EvaluationRecord(_Part):
    """The content of `evaluation.json`.

    `model_digest` is that of the model alone, a SavedModel's folder or a Keras file, computed as spec.model.digest is.
    """

    schema_version: Literal[1] = 1
    metric: Metric
    value: _Ratio
    interval: Interval
    samples: Annotated[int, Field(ge=1, le=SAMPLES_MAX)]
    correct: _Count
    signature: _Text
    model_digest: _Digest
    data: Data
    classes: Annotated[tuple[ClassRow, ...], Field(max_length=CLASSES_MAX)] = ()
    classes_left_out: Annotated[int, Field(ge=0)] = 0
    versions: Annotated[dict[_Text, _Text], Field(max_length=32)] = {}

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        """A value that its own counts don't give was written by hand."""
        if self.correct > self.samples or abs(self.value - self.correct / self.samples) > _TOLERANCE:
            raise ValueError(f"value {self.value} is not correct / samples, {self.correct} / {self.samples}")
        expected = wilson(self.correct, self.samples)
        differences = (expected.low - self.interval.low, expected.high - self.interval.high)
        if max(map(abs, differences)) > _TOLERANCE:
            text = f"interval: {self.correct} of {self.samples} give {expected.low:.6f} to {expected.high:.6f}"
            raise ValueError(f"{text}, not {self.interval.low} to {self.interval.high}")
        return self


def wilson(correct: int, samples: int) -> Interval:
    """Wilson's score interval of a proportion at the level 0.95, which holds for few samples and near 0 and 1 as well.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the American
    Statistical Association 22 (1927), 209-212; NIST/SEMATECH e-Handbook of Statistical Methods, section 7.2.4.1.
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share = correct / samples
    middle = share + z * z / (2 * samples)
    half = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples))
    scale = 1 + z * z / samples
    low = 0.0 if correct == 0 else (middle - half) / scale
    high = 1.0 if correct == samples else (middle + half) / scale
    return Interval(low=low, high=high)


def read(path: Path) -> EvaluationRecord:
    """The record in a file of at most 1 MiB. Raises UnreadableRecordError, and OSError where there is no such file."""
    with path.open("rb") as file:
        text = file.read(BYTES_MAX + 1)
    if len(text) > BYTES_MAX:
        raise UnreadableRecordError(f"{NAME} is larger than {BYTES_MAX} bytes")
    try:
        return EvaluationRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UnreadableRecordError(one_sentence(f"{NAME}: {f'{field}: ' if field else ''}{first['msg']}")) from None


class Outcome(StrEnum):
    """What a replica found beside its model; the operator reads these, so they are never renamed."""

    READ = "Read"
    """A record of this model."""
    ABSENT = "Absent"
    """There is no file `evaluation.json` beside the model."""
    OTHER_MODEL = "OtherModel"
    """The record is of a model with another digest."""
    UNREADABLE = "Unreadable"
    """The file is no record of this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`record` is None unless the outcome is Read; `message` is one sentence, empty then."""

    outcome: Outcome
    message: str = ""
    record: EvaluationRecord | None = None


NOTHING = Found(outcome=Outcome.ABSENT, message=f"there is no file {NAME} beside the model")


def find(content: Path, model: Path) -> Found:
    """The record beside `model`, which lies in the fetched `content`. Raises nothing for a file that is wrong."""
    if model == content:
        text = f"spec.model.uri names the model alone, not a folder or archive that holds the model and {NAME}"
        return Found(outcome=Outcome.ABSENT, message=text)
    try:
        record = read(model.parent / NAME)
        actual = digest.hash_path(model)
    except FileNotFoundError:
        return NOTHING
    except UnreadableRecordError as error:
        return Found(outcome=Outcome.UNREADABLE, message=str(error))
    except LoadError as error:
        return Found(outcome=Outcome.UNREADABLE, message=error.sentence)
    except OSError as error:
        return Found(outcome=Outcome.UNREADABLE, message=f"{NAME} can't be read: {error.strerror}")
    if record.model_digest != actual:
        text = f"{NAME} is of a model with the digest {record.model_digest}, but this model has {actual}"
        return Found(outcome=Outcome.OTHER_MODEL, message=text)
    return Found(outcome=Outcome.READ, record=record)


def dump(record: EvaluationRecord) -> str:
    """The text of the file."""
    return record.model_dump_json(by_alias=True, indent=2) + "\n"
