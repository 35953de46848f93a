"""What a pass writes so that a namespace has what its models need, and no more."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead_operator.api import names
from fairlead_operator.state import infrastructure
from fairlead_operator.state.infrastructure import (
    ApplyObject,
    DeleteObject,
    DesiredNamespace,
    MadeObject,
    MakeToken,
    NamespacePlan,
    NamespaceWrite,
    ObjectKey,
    ObservedNamespace,
    Problem,
    SetBounds,
    WantedCluster,
    WantedObject,
)
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason

TOKEN = ObjectKey(infrastructure.SECRET, names.TOKEN_SECRET)


def decide(desired: DesiredNamespace, observed: ObservedNamespace) -> NamespacePlan:
    """An object that is as it was applied is not written; one of somebody else is never touched.

    Of a kind that can't be listed nothing is written: unknown is not absent.
    """
    if not desired.has_models:
        return NamespacePlan(writes=tuple(_remove_all(observed)) if observed.is_complete else ())
    if not desired.objects:
        return NamespacePlan()
    writes = tuple(_make(desired, observed))
    foreign = _find_foreign(desired, observed)
    if foreign is not None:
        message = infrastructure.describe_foreign(foreign)
        return NamespacePlan(writes=writes, problem=Problem(reason=Reason.FOREIGN_OBJECT, message=message))
    return NamespacePlan(writes=writes)


def _make(desired: DesiredNamespace, observed: ObservedNamespace) -> Iterator[NamespaceWrite]:
    if TOKEN not in observed.objects and TOKEN.kind not in observed.unknown:
        yield MakeToken()
    for wanted in desired.objects:
        if (write := _object(wanted, observed)) is not None and (write.is_new or wanted.key not in desired.made_once):
            yield write
    for cluster in desired.clusters:
        if (change := _cluster(cluster, observed)) is not None:
            yield change
    yield from _remove_unused(desired, observed)


def _object(wanted: WantedObject, observed: ObservedNamespace) -> ApplyObject | None:
    if wanted.key.kind in observed.unknown:
        return None
    made = observed.objects.get(wanted.key)
    if made is None:
        return ApplyObject(key=wanted.key, body=wanted.body, is_new=True)
    if _is_settled(made) or made.digest == wanted.digest:
        return None
    return ApplyObject(key=wanted.key, body=wanted.body, is_new=False)


def _cluster(wanted: WantedCluster, observed: ObservedNamespace) -> NamespaceWrite | None:
    if wanted.key.kind in observed.unknown:
        return None
    made = observed.objects.get(wanted.key)
    if made is None:
        return ApplyObject(key=wanted.key, body=wanted.body, is_new=True)
    if _is_settled(made) or made.bounds is None or made.bounds == wanted.bounds:
        return None
    return SetBounds(key=wanted.key, bounds=wanted.bounds)


def _is_settled(made: MadeObject) -> bool:
    """Whether nothing may be written: it isn't ours, or it goes and is made once more when it has gone."""
    return not made.is_ours or made.is_deleting


def _may_be_deleted(made: MadeObject) -> bool:
    return not _is_settled(made) and not made.is_copy


def _remove_unused(desired: DesiredNamespace, observed: ObservedNamespace) -> Iterator[DeleteObject]:
    """What no model needs any more, once all models and all RayClusters are known."""
    if not observed.is_complete or infrastructure.RAY_CLUSTER in observed.unknown:
        return
    wanted = {TOKEN, *(each.key for each in desired.objects), *(each.key for each in desired.clusters)}
    for key, made in sorted(observed.objects.items()):
        if key not in wanted and _may_be_deleted(made) and _is_unused(key, observed):
            yield DeleteObject(key=key, uid=made.uid)


def _is_unused(key: ObjectKey, observed: ObservedNamespace) -> bool:
    """A RayCluster only on evidence that no revision records it; its nodes' Service once it is gone as well."""
    if key.kind is infrastructure.RAY_CLUSTER:
        return _is_recorded_by_none(key.name, observed.used_clusters)
    cluster = key.name.removesuffix(names.RAY_NODES_SUFFIX)
    if key.kind is not infrastructure.SERVICE or cluster == key.name:
        return True
    is_gone = ObjectKey(infrastructure.RAY_CLUSTER, cluster) not in observed.objects
    return is_gone and _is_recorded_by_none(cluster, observed.used_clusters)


def _is_recorded_by_none(cluster: str, used: Known[frozenset[str]] | Unknown) -> bool:
    return isinstance(used, Known) and cluster not in used.value


def _remove_all(observed: ObservedNamespace) -> Iterator[DeleteObject]:
    """The last model has gone, and with it all traffic. The token goes in a later pass, once no RayCluster is left."""
    for key, made in sorted(observed.objects.items()):
        if _may_be_deleted(made) and (key != TOKEN or _has_no_ray_cluster(observed)):
            yield DeleteObject(key=key, uid=made.uid)


def _has_no_ray_cluster(observed: ObservedNamespace) -> bool:
    """One that is being deleted counts: KubeRay's Job that removes its head's state from Redis reads the token."""
    kinds = {key.kind for key in observed.objects} | observed.unknown.keys()
    return infrastructure.RAY_CLUSTER not in kinds


def _find_foreign(desired: DesiredNamespace, observed: ObservedNamespace) -> ObjectKey | None:
    keys = (TOKEN, *(each.key for each in desired.objects), *(each.key for each in desired.clusters))
    found = ((key, observed.objects.get(key)) for key in keys)
    return next((key for key, made in found if made is not None and not made.is_ours), None)
