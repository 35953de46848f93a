"""One node for all tests of this folder; those that break one have their own.

``FAIRLEAD_TEST_NODE=NAME`` takes the node that `fairlead local up --node --name NAME` started, and leaves it up,
for work on one test.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich.console
from tests.node import helm, pods, product
from tests.support import leftovers

from fairlead_cli.local import progress
from fairlead_cli.local.node import cluster, release


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.NodeCluster]:
    reporter = progress.RichReporter(rich.console.Console(stderr=True))
    if kept := os.environ.get("FAIRLEAD_TEST_NODE"):
        standing = cluster.NodeCluster(kept, reporter=reporter)
        standing.up()
        yield standing
        return
    made = cluster.NodeCluster("tests", tmp_path_factory.mktemp("node") / "cluster", reporter=reporter)
    with leftovers.owned(made):
        made.up()
        yield made


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[cluster.NodeCluster]:
    """A node that the test itself starts."""
    made = cluster.NodeCluster("own", tmp_path / "cluster")
    with leftovers.owned(made):
        yield made


@pytest.fixture(scope="session")
def installed(node: cluster.NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[product.Product]:
    """KubeRay, the chart with its ServingClass, and an empty namespace."""
    node.install_kuberay()
    helm.install(node, release.values(node, workers=2), folder=tmp_path_factory.mktemp("values"))
    made = product.make_namespace(node, "models")
    yield made
    pods.run(node, "delete", f"namespace/{made.namespace}", "--timeout=240s")
    helm.uninstall(node)


@pytest.fixture(scope="session")
def url(node: cluster.NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the tests' model is. Made once: another archive has another digest, and a revision keeps its first one."""
    return product.publish_model(node, tmp_path_factory.mktemp("model"), namespace="stores")


@pytest.fixture
def served(installed: product.Product, url: str) -> product.Product:
    """The model `doubling`, served as the manifest of `product.MANIFEST` says; it stays for the next test."""
    manifest = product.MANIFEST.format(namespace=installed.namespace, url=url)
    pods.run(installed.node, "apply", "--filename=-", text=manifest)
    installed.await_ready(deadline_s=600)
    return installed
