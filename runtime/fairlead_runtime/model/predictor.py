"""What a loaded model is to the rest of the runtime: a function from tensors to tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fairlead_runtime.model.signature import Signature

Array = np.ndarray[Any, Any]
Tensors = tuple[Array, ...]


class Predictor(Protocol):
    """Takes and gives tensors in the signature's order; raises InputRefusedError or ModelFailedError.

    One that has a part in another process raises RequestError (StageGone) while that is not there.
    """

    def __call__(self, inputs: Tensors) -> Tensors: ...


class InputRefusedError(Exception):
    """The model itself refused the input, which is the sender's fault; the text is TensorFlow's first line."""


class ModelFailedError(Exception):
    """The model failed by itself; the text is TensorFlow's first line."""


class ValueFailedError(ModelFailedError):
    """The model failed in a way that some of TensorFlow's kernels also fail in for values that they don't take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that can be called; `kind` says by which way, `folder` in which folder of the content it was found."""

    signature: Signature
    predictor: Predictor
    kind: str
    folder: str | None = None
