"""What is known of the variants of a model: written by the child process, kept beside their files, read by replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fairlead_runtime.model import kept_record

NAME = "variants.json"
BYTES_MAX = 1024 * 1024
ANSWERS = "answers.npz"
RETRY_S = 60.0
_DOUBLINGS_MAX = 6
"""At least once in about an hour, if a replica starts."""

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
    """A variant that could not be made, or that breaks the contract of the model; `why` is a part of a sentence.

    `is_chance`: the next time may go better, as where there was too little memory.
    """

    name: str
    why: str
    is_chance: bool = False


class Table(_Part):
    """The float model is the first variant. `answers` is the SHA-256 of the file with answers of each variant.

    `most_frequent`: on how many samples a model would be right that always gives their most frequent label. `made_s` is
    the Unix time; `tries` is the number of this making, from 1, where each one before lacked a variant by chance.
    """

    outcome: Literal["Measured"] = "Measured"
    samples: Annotated[int, Field(ge=1)]
    most_frequent: Annotated[int, Field(ge=1)]
    made_s: float
    tries: Annotated[int, Field(ge=1)] = 1
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    unmade: tuple[Unmade, ...]
    answers: str


class Refusal(_Part):
    """There are no variants; `why` is a sentence. `until_s`: up to which Unix time, None for always.

    With `is_chance` the making failed as a whole; `made_s` and `tries` are as in a table.
    """

    outcome: Literal["NoSamples", "NotPrepared"]
    why: str
    until_s: float | None = None
    is_chance: bool = False
    made_s: float = 0.0
    tries: Annotated[int, Field(ge=1)] = 1


class Record(_Part):
    """`key` names what was made, and by what."""

    key: str
    result: Annotated[Table | Refusal, Field(discriminator="outcome")]


def is_due(result: Table | Refusal, asked_s: float, now_s: float) -> bool:
    """Whether what failed by chance is tried again for a replica that asked at `asked_s`, in Unix time.

    One that asked after the first failure tries again at once, then each waits for twice as long as the last one. Those
    that asked before, and waited, take what was made.
    """
    lost = result.unmade if isinstance(result, Table) else (result,)
    if not any(each.is_chance for each in lost):
        return False
    if result.made_s > now_s:  # the clock was set back since
        return True
    pause_s = 0.0 if result.tries == 1 else RETRY_S * 2 ** min(result.tries - 2, _DOUBLINGS_MAX)
    return asked_s >= result.made_s + pause_s


def read(path: Path) -> Record | None:
    """None for what is no record of this version."""
    return kept_record.read(path, Record, bytes_max=BYTES_MAX)
