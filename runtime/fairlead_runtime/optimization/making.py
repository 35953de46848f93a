"""Makes one variant of a model by its recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from fairlead_runtime.config import Technique
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.optimization import chains, folding, quantizing, structured, weights
from fairlead_runtime.optimization.recipes import Recipe


class Maker:
    """Of one model; what several recipes need is found once."""

    def __init__(self, content: bytes, calibration: Tensors) -> None:
        self._content = content
        self._calibration = calibration
        self._found: Sequence[chains.Chain] | None = None
        self._moments: Mapping[str, structured.Moments] = {}

    def make(self, recipe: Recipe) -> bytes:
        """The variant as an ONNX file; raises CannotMakeError or CannotOpenError."""
        match recipe.technique:
            case Technique.FOLDING:
                content: bytes = self._model.SerializeToString()
                return content
            case Technique.STATIC_INT8:
                return quantizing.quantize_static(self._model, self._calibration)
            case Technique.DYNAMIC_INT8:
                return quantizing.quantize_dynamic(self._model)
            case Technique.STRUCTURED_PRUNING:
                found = self._chains()
                return structured.prune(self._model, found, self._moments, recipe.amount)
            case Technique.MAGNITUDE_PRUNING:
                return weights.prune(self._model, recipe.amount)
            case Technique.WEIGHT_CLUSTERING:
                return weights.cluster(self._model, recipe.amount)

    @cached_property
    def _model(self) -> Any:
        return folding.fold(self._content, self._calibration)

    def _chains(self) -> Sequence[chains.Chain]:
        if self._found is None:
            found = chains.find(self._model)
            self._moments = structured.observe(self._model, found, self._calibration) if found else {}
            self._found = found
        return self._found
