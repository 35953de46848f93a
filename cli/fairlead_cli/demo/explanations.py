"""Explains rows by a served model: whether the attributions add up to the score, and a picture of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead_cli.demo import columns
from fairlead_cli.plugin import predict
from fairlead_cli.plugin.explaining import explain, heat_map

INTEGRATED_GRADIENTS = "integrated_gradients"
COMPLETE_WITHIN = 0.05
"""Of the difference of the scores: what the replica aims at (docs/explain.md)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One explained row: the class, its score, that of the baseline, and the sum of the attributions."""

    target: int
    score: float
    baseline_score: float
    total: float

    @property
    def gap(self) -> float:
        """How far the sum is from the difference of the scores, as a part of the difference."""
        difference = self.score - self.baseline_score
        return abs(self.total - difference) / abs(difference) if difference else math.inf

    @property
    def is_complete(self) -> bool:
        return self.gap <= COMPLETE_WITHIN


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """``method`` and ``steps`` are what the replica reports."""

    method: str
    steps: int
    rows: Sequence[Row]
    picture: bytes


def ask(gateway_url: str, model: str, body: bytes) -> Explanation:
    """Explain the rows of an inference request.

    Raises:
        errors.PluginError: the model did not explain them.
    """
    request = explain.compose(body.decode(), target=None, steps=None)
    gateway = predict.Gateway(url=gateway_url, headers={}, trust=None)
    answer = explain.ask(gateway, model, request, revision=None)["answer"]
    found = explain.read(request, answer)
    baselines = _baseline_scores(answer)
    rows = [
        Row(target=target, score=score, baseline_score=baseline, total=math.fsum(attributions))
        for target, score, baseline, attributions in zip(
            found.targets, found.scores, baselines, found.attributions.rows, strict=True
        )
    ]
    parameters = answer["parameters"]
    return Explanation(
        method=str(parameters["method"]), steps=int(parameters["steps"]), rows=rows, picture=heat_map.draw(found)
    )


def _baseline_scores(answer: Mapping[str, Any]) -> list[float]:
    tensors = {each["name"]: each["data"] for each in answer["outputs"]}
    return [float(each) for each in tensors["baseline_score"]]


def describe(names: Sequence[str], rows: Sequence[Row]) -> str:
    """A table with a line for each row."""
    cells = [
        (
            name,
            str(each.target),
            f"{each.score:.4f}",
            f"{each.baseline_score:.4f}",
            f"{each.score - each.baseline_score:.4f}",
            f"{each.total:.4f}",
            f"complete within {each.gap:.2%}" if each.is_complete else f"{each.gap:.2%} apart",
        )
        for name, each in zip(names, rows, strict=True)
    ]
    header = ("image", "class", "score", "score of black", "difference", "sum of attributions", "")
    return columns.align(header, cells)
