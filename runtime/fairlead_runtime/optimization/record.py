"""What is known of the variants of a model: written by the child process, kept beside their files, read by replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fairlead_runtime.model import kept_record

NAME = "variants.json"
BYTES_MAX = 1024 * 1024
ANSWERS = "answers.npz"

_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(gt=0)]
_Change = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Speed(_Part):
    """Seconds of a call with so many rows: the least mean of a block, and two quantiles of single calls."""

    rows: Annotated[int, Field(ge=1)]
    best_s: _Seconds
    p50_s: _Seconds
    p99_s: _Seconds


class Variant(_Part):
    """The float model or a variant of it, as it was measured.

    `size_bytes` is of the compressed file, `rss_bytes` and `start_s` of a process that has this model alone, `correct`
    counts right answers to the judged samples, `score_change` is the largest one of any number of the answers.
    """

    name: str
    file: str
    digest: str
    size_bytes: _Count
    rss_bytes: _Count
    start_s: _Seconds
    speeds: Annotated[tuple[Speed, ...], Field(min_length=1)]
    correct: _Count
    score_change: _Change


class Unmade(_Part):
    """A variant that could not be made, or that breaks the contract of the model; `why` is a part of a sentence."""

    name: str
    why: str


class Table(_Part):
    """The float model is the first variant. `answers` is the SHA-256 of the file with answers of each variant."""

    outcome: Literal["Measured"] = "Measured"
    samples: Annotated[int, Field(ge=1)]
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    unmade: tuple[Unmade, ...]
    answers: str


class Refusal(_Part):
    """There are no variants; `why` is a sentence. `until_s`: up to which Unix time, None for always."""

    outcome: Literal["NoSamples", "NotPrepared"]
    why: str
    until_s: float | None = None


class Record(_Part):
    """`key` names what was made, and by what."""

    key: str
    result: Annotated[Table | Refusal, Field(discriminator="outcome")]


def read(path: Path) -> Record | None:
    """None for what is no record of this version."""
    return kept_record.read(path, Record, bytes_max=BYTES_MAX)
