"""Which Ray clusters the revisions of a namespace use, and when nobody can know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import builders
from tests.support.hand_clock import HandClock

from fairlead_operator.api import names
from fairlead_operator.observe import cluster, gateway, ray_clusters, readers
from fairlead_operator.state import directory, knowledge, revision_data

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

REVISION = builders.revision(cluster="small-0123456789")
DATA = revision_data.RevisionData(
    template=REVISION.template, cluster=REVISION.cluster, application=REVISION.application
)


class Api:
    """Has one ControllerRevision."""

    async def list_all(self, path: str, **_: Any) -> tuple[list[dict[str, Any]], str]:
        return ([stored()] if path.endswith("controllerrevisions") else []), "10"

    async def watch(self, _path: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}


def stored() -> dict[str, Any]:
    labels = {names.LABEL_REVISION: REVISION.revision, names.LABEL_MODEL: builders.NAME}
    metadata = {
        "name": REVISION.name,
        "namespace": builders.NAMESPACE,
        "uid": "r",
        "resourceVersion": "5",
        "labels": labels,
    }
    data = revision_data.to_json(DATA)
    return {"metadata": metadata, "revision": 1, "data": data}


async def test_the_clusters_in_use_are_unknown_while_a_revision_that_a_model_names_is_lost() -> None:
    api: Any = Api()
    shared = readers.Readers(clock=HandClock())
    clusters = ray_clusters.RayClusters(directory.StaticClusters({}), lambda _: None, readers=shared)  # type: ignore[arg-type,return-value]
    none: Any = directory.StaticGateways({})
    poller = gateway.GatewaysPoller(none, none, builders.NAMESPACE, shared)
    view = cluster.NamespaceView(builders.NAMESPACE, api=api, ray=clusters, gateways=poller, readers=shared)
    await asyncio.sleep(1)
    known = knowledge.Known(frozenset({"small-0123456789"}))
    assert view.used_clusters(()) == known
    assert view.used_clusters({REVISION.name}) == known
    lost = view.used_clusters({REVISION.name, "digits-0000000000"})
    assert isinstance(lost, knowledge.Unknown)
    assert "digits-0000000000" in lost.reason
    view.stop()
