"""The variants that are tried: each technique at a few fixed amounts. The bounds decide which one is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead_runtime.config import Technique

REVISION = 2
"""Of what the recipes make and how it is measured. Raise it with each change: variants are then made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`name` is the variant's; `amount` is in percent, or a number of clusters."""

    name: str
    technique: Technique
    amount: int = 0


RECIPES: tuple[Recipe, ...] = (
    Recipe(name="Folded", technique=Technique.FOLDING),
    Recipe(name="StaticInt8", technique=Technique.STATIC_INT8),
    Recipe(name="DynamicInt8", technique=Technique.DYNAMIC_INT8),
    Recipe(name="StructuredPruning25", technique=Technique.STRUCTURED_PRUNING, amount=25),
    Recipe(name="StructuredPruning50", technique=Technique.STRUCTURED_PRUNING, amount=50),
    Recipe(name="MagnitudePruning50", technique=Technique.MAGNITUDE_PRUNING, amount=50),
    Recipe(name="MagnitudePruning70", technique=Technique.MAGNITUDE_PRUNING, amount=70),
    Recipe(name="WeightClustering64", technique=Technique.WEIGHT_CLUSTERING, amount=64),
    Recipe(name="WeightClustering16", technique=Technique.WEIGHT_CLUSTERING, amount=16),
)
"""The percentage of a pruning is what is removed: of the units of a layer, or of the weights of a matrix."""


def select(techniques: Sequence[Technique]) -> tuple[Recipe, ...]:
    """In the order of the table, whatever the order of the techniques is."""
    return tuple(recipe for recipe in RECIPES if recipe.technique in techniques)
