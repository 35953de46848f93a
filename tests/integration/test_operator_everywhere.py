"""The operator of a whole cluster, under the ClusterRoleBinding that the chart ships."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from tests.support.operated import Operated, manifest
from tests.support.until import until

from fairlead_cli.local import cluster, manifests

pytestmark = pytest.mark.real


@pytest.fixture
def everywhere(kubernetes: cluster.LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    binding = manifests.rbac_files()[0].with_name("operator-cluster.yaml")  # not one of the local cluster's own
    kubernetes.kubectl("apply", "-f", str(binding))
    try:
        with Operated(kubernetes, tmp_path_factory.mktemp("everywhere"), where=("--all-namespaces",)) as world:
            yield world
    finally:
        kubernetes.kubectl("delete", "-f", str(binding))


def test_with_all_namespaces_each_model_is_served_or_reports_what_its_namespace_lacks(everywhere: Operated) -> None:
    other = f"{everywhere.namespace}-other"
    everywhere.kubectl("create", "namespace", other, scoped=False)
    body = yaml.safe_dump(manifest("stranded", "file:///models/good", {}))
    everywhere.kubectl("-n", other, "apply", "-f", "-", scoped=False, input_text=body)
    everywhere.apply("digits")
    everywhere.until_ready("digits")

    def ready_message() -> str:
        path = "jsonpath={.status.conditions[?(@.type=='Ready')].message}"
        return everywhere.kubectl("-n", other, "get", "mdep", "stranded", "-o", path, scoped=False)

    until(lambda: "Ray" in ready_message(), "the other namespace's model reports it", explain=ready_message)
    everywhere.kubectl("delete", "namespace", other, scoped=False)  # waits: no finalizer may be left behind
