"""What is known of a model's conversion: written by the child process, kept beside the file, read by each replica."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fairlead_runtime.model import kept_record
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

NAME = "record.json"
BYTES_MAX = 4 * 1024 * 1024
MODEL, ANSWERS = "model.onnx", "answers.npz"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeptTensor(_Part):
    name: str
    dtype: DType
    shape: tuple[int | None, ...] | None

    def spec(self) -> TensorSpec:
        return TensorSpec(name=self.name, dtype=self.dtype, shape=self.shape)


class KeptSignature(_Part):
    name: str
    method: str
    inputs: tuple[KeptTensor, ...]
    outputs: tuple[KeptTensor, ...]

    def signature(self) -> Signature:
        return Signature(
            name=self.name,
            method=self.method,
            inputs=tuple(each.spec() for each in self.inputs),
            outputs=tuple(each.spec() for each in self.outputs),
        )


class Measured(_Part):
    """Seconds of one call with so many rows, by each engine: the least of all rounds, in which both took turns."""

    rows: Annotated[int, Field(ge=1)]
    tensorflow_s: Annotated[float, Field(gt=0)]
    onnx_s: Annotated[float, Field(gt=0)]


class Converted(_Part):
    """The engines agreed: the files beside this record are the model and TensorFlow's answers to the trials.

    `files` has the SHA-256 of each; `difference` is the largest one between two numbers of the trials.
    """

    outcome: Literal["Converted"] = "Converted"
    files: dict[str, str]
    signature: KeptSignature
    measured: tuple[Measured, ...]
    difference: float
    trials: int


class Refusal(_Part):
    """The model stays on TensorFlow; `why` is a sentence. `until_s`: up to which Unix time, None for always."""

    outcome: Literal["NotConverted", "NotEqual"]
    why: str
    until_s: float | None = None


class Record(_Part):
    """`key` names what was converted, and by what."""

    key: str
    result: Annotated[Converted | Refusal, Field(discriminator="outcome")]


def keep(signature: Signature) -> KeptSignature:
    """The signature as it is written into a record."""
    inputs, outputs = (
        tuple(KeptTensor(name=spec.name, dtype=spec.dtype, shape=spec.shape) for spec in specs)
        for specs in (signature.inputs, signature.outputs)
    )
    return KeptSignature(name=signature.name, method=signature.method, inputs=inputs, outputs=outputs)


def read(path: Path) -> Record | None:
    """None for what is no record of this version."""
    return kept_record.read(path, Record, bytes_max=BYTES_MAX)
