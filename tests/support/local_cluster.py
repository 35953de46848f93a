"""The real local cluster for tests, in a folder of its own, taken down whole at the end."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence

import pytest
from tests.support import leftovers, per_folder

from fairlead_cli.local import cluster, options

LocalClusterFactory = Callable[..., cluster.LocalCluster]


@pytest.fixture(scope="module")
def kubernetes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> cluster.LocalCluster:
    """Etcd, kube-apiserver and kube-controller-manager, with CRD and RBAC applied; shared by the folder's files."""

    @contextlib.contextmanager
    def started() -> Iterator[cluster.LocalCluster]:
        local = cluster.LocalCluster("kubernetes", tmp_path_factory.mktemp("kubernetes") / "cluster")
        with leftovers.owned(local):
            local.up(cluster.KUBERNETES_PARTS)
            yield local

    return per_folder.shared(request, started)


@pytest.fixture(scope="module")
def local_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClusterFactory]:
    """Start clusters of chosen parts (all by default); all of them end with the test file."""
    started = contextlib.ExitStack()

    def start(
        parts: Sequence[str] = cluster.PARTS, *, namespace: str = "default", ray_nodes: int = 1
    ) -> cluster.LocalCluster:
        root: pathlib.Path = tmp_path_factory.mktemp("local") / "cluster"
        made = cluster.LocalCluster("test", root, chosen=options.Options(namespace=namespace, ray_nodes=ray_nodes))
        started.enter_context(leftovers.owned(made))
        made.up(parts)
        return made

    with started:
        yield start
