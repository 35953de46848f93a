"""Cuts a model and opens one of its stages; what the first stage and the others have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import loader
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.onnx.conversions import Wanted
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.stages import kept

ReadExamples = Callable[[Path, Signature], Sequence[Tensors]]


def cut(wanted: Wanted, cache: Cache, stages: int, read_examples: ReadExamples) -> kept.KeptCut:
    """The cut of this model on this node; raises LoadError."""
    checked = loader.check(wanted.fetched.path, wanted.source.format, wanted.source.signature, wanted.bounds)
    if checked.signature is None:
        text = "a .keras file can't be cut into stages: export the model as a SavedModel (model.export)"
        raise LoadError(LoadReason.CANNOT_CUT, text)
    examples = read_examples(checked.root, checked.signature)
    return kept.find_or_make(wanted, checked, stages, examples, cache)
