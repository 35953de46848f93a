"""Runs of the campaign take turns in namespaces: an empty one that has waited long enough, or a new one."""

from __future__ import annotations

from typing import Any, cast

from tests.faults import kube
from tests.faults.namespaces import SPARE, Namespaces


class Cluster:
    """Objects by path, and the namespaces that were made."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.objects: dict[str, list[dict[str, Any]]] = {}

    def make_namespace(self, name: str) -> None:
        self.made.append(name)

    def get(self, path: str) -> dict[str, Any]:
        return {"items": self.objects.get(path, [])}


def _given_back(cluster: Cluster) -> tuple[Namespaces, list[str]]:
    """One more than lie spare."""
    namespaces = Namespaces(cast(kube.Kube, cluster))
    names = [namespaces.take() for _ in range(SPARE + 1)]
    for name in names:
        namespaces.give_back(name)
    return namespaces, names


def test_the_one_that_was_given_back_first_is_taken_and_the_others_wait() -> None:
    cluster = Cluster()
    namespaces, names = _given_back(cluster)
    assert namespaces.take() == names[0]
    assert namespaces.take() not in names
    assert len(cluster.made) == SPARE + 2


def test_one_in_which_something_appeared_is_taken_no_more() -> None:
    cluster = Cluster()
    namespaces, names = _given_back(cluster)
    cluster.objects[kube.ROUTES.format(namespace=names[0])] = [{"metadata": {"name": "m"}}]
    assert namespaces.take() not in names
