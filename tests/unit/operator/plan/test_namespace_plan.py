"""Which writes a namespace gets: what differs, never what belongs to somebody else, never on what isn't known."""

from __future__ import annotations

import dataclasses
from typing import Any

from tests.support import serving_classes

from fairlead_operator.clients import errors
from fairlead_operator.desired.namespace import build, network
from fairlead_operator.plan import namespace as plan
from fairlead_operator.state import infrastructure
from fairlead_operator.state.infrastructure import (
    ApplyObject,
    DeleteObject,
    DesiredNamespace,
    MadeObject,
    MakeToken,
    ObjectKey,
    ObservedNamespace,
    SetBounds,
    WorkerBounds,
)
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.serving_class import StoredClass

OLD = ObjectKey(infrastructure.RAY_CLUSTER, "small-0000000000")
NODES = ObjectKey(infrastructure.SERVICE, "small-0000000000-nodes")
OF_CLASS = {ObjectKey(kind, "fairlead-gateway") for kind in (infrastructure.SERVICE, infrastructure.DEPLOYMENT)}


def stored(name: str = "small", *, is_default: bool = True, created_at: str = "2026", **changes: Any) -> StoredClass:
    content = serving_classes.make(name, **changes)
    return StoredClass(name=name, created_at=created_at, is_default=is_default, content=content)


def desire(
    *classes: StoredClass,
    models: dict[str, str | None] | None = None,
    unread: int = 0,
    is_complete: bool = True,
) -> DesiredNamespace:
    chosen = {"digits": None} if models is None else models
    return build.build(
        "models",
        build.NamespaceModels(classes=chosen, unread=unread, is_complete=is_complete),
        {each.name: each for each in classes},
        existing_clusters={},
        callers=network.Callers(operator="fairlead-system"),
    )


def as_made(desired: DesiredNamespace) -> dict[ObjectKey, MadeObject]:
    """Everything as it is after all writes."""
    made = {each.key: MadeObject(uid=f"u-{each.key}", is_ours=True, digest=each.digest) for each in desired.objects}
    clusters = {
        each.key: MadeObject(uid=f"u-{each.name}", is_ours=True, bounds=each.bounds) for each in desired.clusters
    }
    return {**made, **clusters, plan.TOKEN: MadeObject(uid="u-token", is_ours=True)}


def seen(objects: dict[ObjectKey, MadeObject], **changes: Any) -> ObservedNamespace:
    everything = ObservedNamespace(objects=objects, unknown={}, used_clusters=Known(frozenset()), is_complete=True)
    return dataclasses.replace(everything, **changes)


def test_an_empty_namespace_gets_everything_the_token_first() -> None:
    desired = desire(stored())
    writes = plan.decide(desired, seen({})).writes
    assert isinstance(writes[0], MakeToken)
    made = {each.key for each in writes}
    assert made == {plan.TOKEN, *(each.key for each in desired.objects), *(each.key for each in desired.clusters)}
    assert all(each.is_new for each in writes if isinstance(each, ApplyObject))


def test_a_namespace_that_has_everything_gets_nothing() -> None:
    desired = desire(stored())
    assert plan.decide(desired, seen(as_made(desired))).writes == ()


def test_what_differs_is_applied_and_nothing_else() -> None:
    desired = desire(stored())
    made = as_made(desired)
    key = ObjectKey(infrastructure.DEPLOYMENT, "fairlead-gateway")
    made[key] = dataclasses.replace(made[key], digest="another")
    (write,) = plan.decide(desired, seen(made)).writes
    assert isinstance(write, ApplyObject)
    assert (write.key, write.is_new) == (key, False)


def test_a_kind_that_cannot_be_listed_is_not_taken_for_absent() -> None:
    desired = desire(stored())
    unknown = {infrastructure.RAY_CLUSTER: errors.NotFound("no such kind"), infrastructure.SECRET: errors.Forbidden("")}
    kinds = {each.key.kind for each in plan.decide(desired, seen({}, unknown=unknown)).writes}
    assert infrastructure.RAY_CLUSTER not in kinds
    assert infrastructure.SECRET not in kinds
    assert infrastructure.DEPLOYMENT in kinds


def test_an_object_of_somebody_else_is_named_and_left() -> None:
    desired = desire(stored())
    made = as_made(desired)
    key = ObjectKey(infrastructure.ROLE, "fairlead-gateway")
    made[key] = MadeObject(uid="theirs", is_ours=False)
    decided = plan.decide(desired, seen(made))
    assert decided.writes == ()
    assert decided.problem is not None
    assert decided.problem.reason is Reason.FOREIGN_OBJECT
    assert "Role fairlead-gateway" in decided.problem.message
    removed = plan.decide(desire(models={}), seen(made)).writes
    assert key not in {each.key for each in removed}


def test_an_object_that_is_being_deleted_is_made_once_more_when_it_has_gone() -> None:
    desired = desire(stored())
    made = as_made(desired)
    key = desired.clusters[0].key
    made[key] = dataclasses.replace(made[key], is_deleting=True, bounds=WorkerBounds(least=9, most=9))
    assert plan.decide(desired, seen(made)).writes == ()


def test_of_a_ray_cluster_only_the_bounds_are_changed() -> None:
    desired = desire(stored())
    made = as_made(desired)
    key = desired.clusters[0].key
    made[key] = dataclasses.replace(made[key], bounds=WorkerBounds(least=5, most=5))
    wanted = WorkerBounds(least=1, most=10, idle_s=300)
    assert plan.decide(desired, seen(made)).writes == (SetBounds(key=key, bounds=wanted),)
    made[key] = dataclasses.replace(made[key], bounds=dataclasses.replace(wanted, idle_s=60))
    assert plan.decide(desired, seen(made)).writes == (SetBounds(key=key, bounds=wanted),)
    made[key] = dataclasses.replace(made[key], bounds=None)
    assert plan.decide(desired, seen(made)).writes == ()


def test_a_ray_cluster_goes_only_on_evidence_that_no_revision_records_it() -> None:
    desired = desire(stored())
    made = {**as_made(desired), OLD: MadeObject(uid="old", is_ours=True)}
    assert plan.decide(desired, seen(made)).writes == (DeleteObject(key=OLD, uid="old"),)
    for doubt in (
        {"used_clusters": Known(frozenset({OLD.name}))},
        {"used_clusters": Unknown("the revisions were not read yet")},
        {"is_complete": False},
    ):
        assert plan.decide(desired, seen(made, **doubt)).writes == ()


def test_the_service_of_nodes_stays_while_ray_clusters_cannot_be_listed_or_models_are_unknown() -> None:
    desired = desire(stored())
    made = {**as_made(desired), NODES: MadeObject(uid="nodes", is_ours=True)}
    unlisted = {infrastructure.RAY_CLUSTER: errors.Unreachable("API server: it doesn't answer")}
    for doubt in (
        {"unknown": unlisted},
        {"is_complete": False},
        {"used_clusters": Known(frozenset({OLD.name}))},
        {"used_clusters": Unknown("the revisions were not read yet")},
    ):
        assert plan.decide(desired, seen(made, **doubt)).writes == ()
    assert plan.decide(desired, seen(made)).writes == (DeleteObject(key=NODES, uid="nodes"),)


def test_the_service_of_nodes_stays_until_its_ray_cluster_has_gone() -> None:
    desired = desire(stored())
    ends = MadeObject(uid="old", is_ours=True, is_deleting=True)
    made = {**as_made(desired), OLD: ends, NODES: MadeObject(uid="nodes", is_ours=True)}
    assert plan.decide(desired, seen(made)).writes == ()


def test_a_copy_of_an_object_of_ours_stays() -> None:
    desired = desire(stored())
    copies = {
        ObjectKey(kind, "copy"): MadeObject(uid="copy", is_ours=True, is_copy=True)
        for kind in (infrastructure.SERVICE, infrastructure.NETWORK_POLICY, infrastructure.RAY_CLUSTER)
    }
    assert plan.decide(desired, seen({**as_made(desired), **copies})).writes == ()
    assert plan.decide(desire(models={}), seen(copies)).writes == ()


def test_with_the_last_model_everything_of_ours_goes_once_all_models_are_known() -> None:
    made = {**as_made(desire(stored())), OLD: MadeObject(uid="old", is_ours=True)}
    gone = desire(stored(), models={})
    assert {each.key for each in plan.decide(gone, seen(made)).writes} == set(made) - {plan.TOKEN}
    assert plan.decide(gone, seen(made, is_complete=False)).writes == ()
    assert plan.decide(desire(stored(), models={}, unread=1), seen(made)).writes == ()


def test_with_the_last_model_the_token_goes_once_no_ray_cluster_is_left() -> None:
    """KubeRay's Job that removes a head's state from Redis reads the token, and holds the RayCluster until it ends."""
    gone = desire(stored(), models={})
    made = as_made(desire(stored()))
    token, cluster = made[plan.TOKEN], desire(stored()).clusters[0].key
    ends = dataclasses.replace(made[cluster], is_deleting=True)
    assert plan.decide(gone, seen({plan.TOKEN: token, cluster: ends})).writes == ()
    unlisted = {infrastructure.RAY_CLUSTER: errors.Unreachable("API server: it doesn't answer")}
    assert plan.decide(gone, seen({plan.TOKEN: token}, unknown=unlisted)).writes == ()
    assert plan.decide(gone, seen({plan.TOKEN: token})).writes == (DeleteObject(key=plan.TOKEN, uid=token.uid),)


def test_without_a_class_what_is_there_stays() -> None:
    made = as_made(desire(stored()))
    desired = desire(stored(is_default=False))
    assert desired.problems["digits"].reason is Reason.NO_SERVING_CLASS
    assert plan.decide(desired, seen(made)).writes == ()


def test_a_model_without_a_class_holds_up_no_other() -> None:
    desired = desire(stored(is_default=False), models={"digits": None, "choosy": "small", "lost": "none"})
    assert [each.name.rpartition("-")[0] for each in desired.clusters] == ["small"]
    assert "ServingClass none does not exist." in desired.problems["lost"].message
    assert set(desired.problems) == {"digits", "lost"}


def test_the_gateway_is_the_default_class_s_whichever_classes_models_use() -> None:
    theirs = {"gateway": {"image": "theirs"}}
    both = desire(stored(), stored("a-large", is_default=False, **theirs), models={"digits": "a-large"})
    alone = desire(stored())
    assert {each.key: each.digest for each in both.objects if each.key.kind is infrastructure.DEPLOYMENT} == {
        each.key: each.digest for each in alone.objects if each.key.kind is infrastructure.DEPLOYMENT
    }
    (cluster,) = both.clusters
    assert cluster.name.startswith("a-large-")


def test_of_two_default_classes_the_older_one_is_used() -> None:
    desired = desire(stored("a", created_at="2026-02"), stored("b", created_at="2026-01"))
    (cluster,) = desired.clusters
    assert cluster.name.startswith("b-")


def test_without_a_default_class_a_gateway_is_not_changed_before_all_models_are_known() -> None:
    small = stored(is_default=False)
    large = stored("large", is_default=False, gateway={"image": "another", "serviceType": "LoadBalancer"})
    made = as_made(desire(small, large, models={"digits": "small", "big": "large"}))
    first = desire(small, large, models={"digits": "small"}, is_complete=False)
    changed = plan.decide(desire(small, large, models={"digits": "small"}), seen(made, is_complete=False)).writes
    assert {each.key for each in changed} == OF_CLASS
    assert plan.decide(first, seen(made, is_complete=False)).writes == ()
    assert {each.key for each in plan.decide(first, seen({}, is_complete=False)).writes} >= OF_CLASS


def test_with_a_default_class_a_gateway_is_changed_before_all_models_are_known() -> None:
    made = as_made(desire(stored()))
    other = desire(stored(gateway={"image": "another"}), is_complete=False)
    (write,) = plan.decide(other, seen(made, is_complete=False)).writes
    assert write.key in OF_CLASS
