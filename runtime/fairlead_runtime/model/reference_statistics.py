"""Reference statistics: how the features of rows are distributed in known data, as `statistics.json` has it.

`fairlead package` writes the file, a replica reads it; docs/evaluation.md describes its schema.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from fairlead_runtime import sketches
from fairlead_runtime.errors import one_sentence
from fairlead_runtime.model import evaluation_record
from fairlead_runtime.model.evaluation_record import Outcome
from fairlead_runtime.model.explaining import shares
from fairlead_runtime.model.guard_bounds import GuardBounds
from fairlead_runtime.model.row_features import FEATURES_MAX, RowReader
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.sketches import ShareSketch, Sketch

NAME = "statistics.json"
SCHEMA_VERSION = 1
BYTES_MAX = 1024 * 1024
EDGES_MAX = 32
CLASSES_MAX = 20
WORDS_MAX = 4096
CLASS_INDEX_MAX = 2**32 - 1
ROWS_MAX = 10_000_000
EXPLAINED_ROWS_MAX = 10_000
SCORE, CLASS = "score", "class"
"""The features of an answer: the top score, or the one number, and the predicted class."""
ATTRIBUTION = "attribution"
"""The feature of an explained row: the share of each part of the row in its top score."""

_Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
_Counts = tuple[Annotated[int, Field(ge=0, le=ROWS_MAX)], ...]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,32}$")]


class _Part(BaseModel):
    """Fields that this version doesn't know are ignored: a later version of the same schema only adds."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", allow_inf_nan=False
    )


class NumberFeature(_Part):
    """Rows by the value of a feature. `counts` has two more entries than `edges`: above the last, and not finite."""

    name: _Name
    edges: Annotated[tuple[float, ...], Field(max_length=EDGES_MAX)]
    counts: _Counts

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(a >= b for a, b in itertools.pairwise(self.edges)):
            raise ValueError(f"edges of {self.name} must grow")
        _check_counts(self.name, self.counts, len(self.edges) + 2)
        return self


class ClassFeature(_Part):
    """Rows by their predicted class. `counts` has one more entry than `classes`: all others."""

    classes: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=CLASS_INDEX_MAX)], ...], Field(min_length=1, max_length=CLASSES_MAX)
    ]
    counts: _Counts

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes must differ")
        _check_counts(CLASS, self.counts, len(self.classes) + 1)
        return self


class Vocabulary(_Part):
    """The most frequent words of an input of texts in the training data, as `row_features.words` numbers them."""

    input: Annotated[int, Field(ge=0, lt=FEATURES_MAX)]
    words: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(max_length=WORDS_MAX)]


class Attributions(_Part):
    """The mean attributions of rows: of each part its baseline, and the sum of its shares over the rows.

    `shares` has one more entry than `baselines`: the rows in which no part decides.
    """

    baselines: Annotated[tuple[float, ...], Field(min_length=1, max_length=shares.COLUMNS_MAX)]
    shares: tuple[Annotated[float, Field(ge=0, le=EXPLAINED_ROWS_MAX)], ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.shares) != len(self.baselines) + 1:
            raise ValueError(f"shares has {len(self.shares)} entries, not {len(self.baselines) + 1}")
        if sum(self.shares) < 1:
            raise ValueError("shares are of no row")
        return self


def _check_counts(name: str, counts: Sequence[int], length: int) -> None:
    if len(counts) != length:
        raise ValueError(f"counts of {name} has {len(counts)} entries, not {length}")
    if not sum(counts):
        raise ValueError(f"counts of {name} counts no row")


class ReferenceStatistics(_Part):
    """What a replica reads of `statistics.json`; `model_digest` and `signature` are those of the evaluation record."""

    schema_version: Literal[1] = 1
    model_digest: _Digest
    signature: Annotated[str, Field(max_length=200)]
    features: Annotated[tuple[NumberFeature, ...], Field(max_length=FEATURES_MAX + 1)]
    predicted: ClassFeature | None = None
    vocabularies: Annotated[tuple[Vocabulary, ...], Field(max_length=FEATURES_MAX)] = ()
    guards: GuardBounds | None = None
    attributions: Attributions | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [feature.name for feature in self.features]
        if len(set(names)) < len(names) or {CLASS, ATTRIBUTION} & set(names):
            raise ValueError("features must have different names, and none of them 'class' or 'attribution'")
        known = {f"input{each.input}_unknown" for each in self.vocabularies}
        without = sorted(name for name in names if name.endswith("_unknown") and name not in known)
        if without:
            raise ValueError(f"{without[0]} has no vocabulary")
        return self

    def reader(self, signature: Signature) -> RowReader:
        """What reads the features of rows of a model with this signature."""
        return RowReader(signature, self.known_words())

    def known_words(self) -> dict[int, frozenset[int]]:
        """The words of each vocabulary, by the index of its input."""
        return {each.input: frozenset(each.words) for each in self.vocabularies}

    def sketches(self) -> tuple[Sketch, ...]:
        """A sketch without rows for each feature."""
        numbers = [sketches.of_numbers(each.name, each.edges, each.counts) for each in self.features]
        if self.predicted is None:
            return tuple(numbers)
        return (*numbers, sketches.of_classes(CLASS, self.predicted.classes, self.predicted.counts))

    def attribution_sketch(self) -> ShareSketch | None:
        """A sketch without rows of the attributions, where there are some."""
        return None if self.attributions is None else ShareSketch(ATTRIBUTION, self.attributions.shares)


class UnreadableStatisticsError(Exception):
    """A file has no reference statistics of this version; the text is one sentence that says what is wrong."""


def read(path: Path) -> ReferenceStatistics:
    """The statistics in a file of at most 1 MiB.

    Raises:
        UnreadableStatisticsError: the file is not of the documented form.
        OSError: there is no such file.
    """
    with path.open("rb") as file:
        return parse(file.read(BYTES_MAX + 1))


def parse(text: bytes) -> ReferenceStatistics:
    """The statistics in the content of a file; raises UnreadableStatisticsError."""
    if len(text) > BYTES_MAX:
        raise UnreadableStatisticsError(f"{NAME} is larger than {BYTES_MAX} bytes")
    try:
        return ReferenceStatistics.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        sentence = one_sentence(f"{NAME}: {f'{field}: ' if field else ''}{first['msg']}")
        raise UnreadableStatisticsError(sentence) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`statistics` is None unless the outcome is Read; `message` is one sentence, empty then."""

    outcome: Outcome
    message: str = ""
    statistics: ReferenceStatistics | None = None


def find(content: Path, model: Path, signature: Signature, evaluation: evaluation_record.Found) -> Found:
    """The statistics beside `model`, which lies in the fetched `content`. Raises nothing for a file that is wrong.

    They count only with the evaluation record beside them, whose digest was compared with the model's.
    """
    if model == content:
        return Found(outcome=Outcome.ABSENT, message=f"spec.model.uri names the model alone, so there is no {NAME}")
    try:
        found = read(model.parent / NAME)
    except FileNotFoundError:
        return Found(outcome=Outcome.ABSENT, message=f"there is no file {NAME} beside the model")
    except UnreadableStatisticsError as error:
        return Found(outcome=Outcome.UNREADABLE, message=str(error))
    except OSError as error:
        return Found(outcome=Outcome.UNREADABLE, message=f"{NAME} can't be read: {error.strerror}")
    record = evaluation.record
    if record is None or record.model_digest != found.model_digest:
        text = f"{NAME} is of a model with the digest {found.model_digest}, which no {evaluation_record.NAME} confirms"
        return Found(outcome=Outcome.OTHER_MODEL, message=text)
    if found.signature != signature.name[:200]:
        text = f"{NAME} is of the signature {found.signature!r}, but {signature.name[:200]!r} is served"
        return Found(outcome=Outcome.OTHER_MODEL, message=one_sentence(text))
    known = {*found.reader(signature).names, SCORE}
    unknown = sorted({each.name for each in found.features} - known)
    if unknown or not all(spec.has_free_batch for spec in signature.inputs):
        text = f"{NAME} has the feature {unknown[0]}" if unknown else "an input has no free first dimension"
        return Found(outcome=Outcome.UNREADABLE, message=f"{text}, which rows of this model don't have")
    if found.attributions is not None and not _has_parts(signature, len(found.attributions.baselines)):
        text = f"{NAME} has attributions of {len(found.attributions.baselines)} parts"
        return Found(outcome=Outcome.UNREADABLE, message=f"{text}, which rows of this model don't have")
    return Found(outcome=Outcome.READ, statistics=found)


def _has_parts(signature: Signature, parts: int) -> bool:
    is_explained = shares.find_obstacle(signature, has_scores=True) is None
    return is_explained and shares.count_parts(signature.inputs[0]) == parts
