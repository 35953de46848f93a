"""What is known of a model's cut: written by the child process, kept beside the parts, read by each stage."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fairlead_runtime.model import kept_record
from fairlead_runtime.model.onnx.record import KeptSignature
from fairlead_runtime.stages.parts import Part

NAME = "record.json"
EXAMPLES = "examples.npz"
BYTES_MAX = 16 * 1024 * 1024


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cut(_Part):
    """The stages together gave the answers of the whole model.

    `files` has the SHA-256 of each part's graph; `difference` is the largest one between two numbers of the trials.
    """

    outcome: Literal["Cut"] = "Cut"
    signature: KeptSignature
    parts: tuple[Part, ...]
    files: tuple[str, ...]
    difference: float
    trials: int

    @property
    def digest(self) -> str:
        """The same where the model is cut in the same places, whatever the node."""
        text = "\n".join(part.model_dump_json() for part in self.parts)
        return hashlib.sha256(text.encode()).hexdigest()

    def describe(self) -> str:
        """The sizes of the stages, in words."""
        sizes = ", ".join(f"{part.weight_bytes / 2**20:.1f}" for part in self.parts)
        return (
            f"{len(self.parts)} stages with weights of {sizes} MiB; {self.trials} answers were those of the whole "
            f"model, up to {self.difference:.1g}"
        )


class Refusal(_Part):
    """The model can't be cut; `why` is a sentence that says what to do."""

    outcome: Literal["Refused"] = "Refused"
    why: str


class Record(_Part):
    """`key` names what was cut, and by what."""

    key: str
    result: Annotated[Cut | Refusal, Field(discriminator="outcome")]


def file_name(stage: int) -> str:
    """The graph of a stage, counted from 1."""
    return f"stage-{stage}.pb"


def read(path: Path) -> Record | None:
    """None for what is no record of this version."""
    return kept_record.read(path, Record, bytes_max=BYTES_MAX)
