"""The models of a namespace and the serving classes -> what the namespace should have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import network, objects
from fairlead_operator.state import serving_class
from fairlead_operator.state.infrastructure import DesiredNamespace, Problem
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.serving_class import StoredClass


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceModels:
    """The class that each model names (None: the default one), and how many models can't be read.

    ``is_complete``: no model is missing, not even those that can't be read.
    """

    classes: Mapping[str, str | None]
    unread: int = 0
    is_complete: bool = True


def build(
    namespace: str,
    models: NamespaceModels,
    classes: Mapping[str, StoredClass],
    *,
    existing_clusters: Mapping[str, int | None],
    callers: network.Callers,
) -> DesiredNamespace:
    """``existing_clusters`` are the RayClusters of ours that are there, and how many workers each is to have.

    The gateway needs to find their nodes.
    """
    if not models.classes:
        return DesiredNamespace(has_models=models.unread > 0)
    found = {name: serving_class.find_class(classes, chosen) for name, chosen in models.classes.items()}
    problems = {name: _missing(models.classes[name]) for name, class_ in found.items() if class_ is None}
    used = {class_.name: class_ for class_ in found.values() if class_ is not None}
    default = next(iter(serving_class.find_defaults(classes.values())), None)
    gateway_class = default
    if gateway_class is None:
        gateway_class = min(used.values(), key=lambda each: each.name, default=None)
    if gateway_class is None:
        return DesiredNamespace(has_models=True, problems=problems)
    clusters = tuple(ray_cluster.build(used[name].content, namespace=namespace) for name in sorted(used))
    composed = objects.compose(
        namespace,
        gateway_class=gateway_class.content,
        clusters={**{each.name: None for each in clusters}, **existing_clusters},
        callers=callers,
    )
    is_certain = default is not None or models.is_complete
    return DesiredNamespace(
        has_models=True,
        clusters=clusters,
        objects=composed,
        problems=problems,
        made_once=frozenset() if is_certain else objects.OF_CLASS,
    )


def _missing(chosen: str | None) -> Problem:
    return Problem(reason=Reason.NO_SERVING_CLASS, message=serving_class.describe_missing(chosen))
