"""Claims get volumes on the node, and a model on a claim is served as `pvc://CLAIM/PATH`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.node import claims, own_class, pods, product
from tests.support.until import until

from fairlead_cli.local.node import cluster, storage

NAMESPACE = "claimed"
CLASS, CLAIM = "on-claims", "shared-models"
WORKER = "ray.io/node-type=worker"
UNPACK = f"base64 -d | tar --extract --gzip --directory={claims.MOUNTED_AT}"


@pytest.fixture(scope="module")
def provided(node: cluster.NodeCluster) -> cluster.NodeCluster:
    """A node with storage classes; they stay for the tests that follow."""
    storage.install(node)
    return node


@pytest.fixture
def namespace(provided: cluster.NodeCluster) -> Iterator[str]:
    yield NAMESPACE
    pods.run(provided, "delete", f"namespace/{NAMESPACE}", "--timeout=120s", "--ignore-not-found")


@pytest.mark.parametrize(
    ("access", "class_name"),
    [
        pytest.param("ReadWriteOnce", None, id="the default class"),
        pytest.param("ReadWriteMany", storage.SHARED_CLASS, id="the class of all nodes"),
    ],
)
def test_what_is_written_on_a_claim_outlives_the_pod_and_goes_with_the_claim(
    provided: cluster.NodeCluster, namespace: str, access: str, class_name: str | None
) -> None:
    node = provided
    kept = claims.claim("kept", access=access, class_name=class_name)
    pods.apply(node, [kept, claims.user(node, "writer", claim_name="kept")], namespace=namespace)
    claims.run_in(
        node, namespace, "writer", f"umask 077; mkdir {claims.MOUNTED_AT}/own; id -u > {claims.MOUNTED_AT}/own/file"
    )
    pods.run(node, "delete", "deployment/writer", f"--namespace={namespace}", "--cascade=foreground")
    pods.apply(node, [claims.user(node, "reader", claim_name="kept")], namespace=namespace)
    assert claims.run_in(node, namespace, "reader", f"cat {claims.MOUNTED_AT}/own/file") == "10001\n"

    folder = claims.folder(node, namespace, "kept")
    assert (folder / "own/file").read_text() == "10001\n"
    assert folder.is_relative_to(node.root), "`down` would leave it"
    pods.run(node, "delete", "deployment/reader", f"--namespace={namespace}", "--cascade=foreground")
    pods.run(node, "delete", "pvc/kept", f"--namespace={namespace}", "--timeout=60s")
    until(lambda: not folder.exists(), "no folder", deadline_s=120, poll_s=0.5)
    until(lambda: not volumes_of(node, namespace), "no volume", deadline_s=60, poll_s=0.5)


def volumes_of(node: cluster.NodeCluster, namespace: str) -> list[dict[str, Any]]:
    found = json.loads(pods.run(node, "get", "pv", "--output=json"))["items"]
    return [each for each in found if each["spec"]["claimRef"]["namespace"] == namespace]


@pytest.fixture(scope="module")
def models(provided: cluster.NodeCluster, installed: product.Product) -> Iterator[product.Product]:
    """A namespace whose class reads models from a claim that isn't there yet."""
    sources = {"allowedSchemes": ["pvc"], "volumeClaimNames": [CLAIM]}
    fields = {"sources": sources, "workers": {"min": 1, "max": 1}}
    with own_class.namespace(provided, "models-on-claims", class_name=CLASS, class_fields=fields) as made:
        yield made


def test_a_worker_waits_for_the_claim_and_then_serves_from_it(models: product.Product, tmp_path: Path) -> None:
    own_class.serve(models, "doubling", f"pvc://{CLAIM}/doubling", class_name=CLASS)
    missing = rf'persistentvolumeclaim "{CLAIM}" not found'
    print(f"\n{await_message(models, missing)}")

    node = models.node
    claim = claims.claim(CLAIM, access="ReadWriteMany", class_name=storage.SHARED_CLASS)
    pods.apply(node, [claim, claims.user(node, "writer", claim_name=CLAIM)], namespace=models.namespace)
    archive = product.build_archive(tmp_path)
    claims.run_in(node, models.namespace, "writer", UNPACK, content=archive.read_bytes())
    models.await_ready(deadline_s=600)
    assert models.predict() == (200, b'{"predictions":[[2.0,4.0],[6.0,8.0]]}')


def test_another_worker_reads_the_claim_again(models: product.Product) -> None:
    """Its cache is new, and so is its mount."""
    (name,) = models.ready_pods(WORKER)
    models.kubectl("delete", f"pod/{name}", "--timeout=180s")
    until(lambda: models.ready_pods(WORKER) not in ([], [name]), "another worker", deadline_s=300, poll_s=0.5)
    models.await_ready(deadline_s=600)
    until(lambda: models.predict()[0] == 200, "an answer", deadline_s=120, poll_s=0.5)


def test_workers_can_t_write_on_the_claim(models: product.Product) -> None:
    (name,) = models.ready_pods(WORKER)
    write = f"touch /run/fairlead-sources/claims/{CLAIM}/file"
    done = models.node.kubectl(
        f"--namespace={models.namespace}", "exec", f"pod/{name}", "--container=ray-worker", "--", "sh", "-c", write
    )
    assert "Read-only file system" in done.stderr, done


def test_a_path_that_is_not_on_the_claim_is_named(models: product.Product) -> None:
    own_class.serve(models, "absent", f"pvc://{CLAIM}/absent", class_name=CLASS)
    until(
        lambda: "there is no file or folder" in json.dumps(models.model("absent").get("status", {})),
        "what is missing",
        deadline_s=300,
        poll_s=0.5,
        explain=lambda: json.dumps(models.model("absent")),
    )
    status = json.dumps(models.model("absent")["status"]["conditions"])
    assert "ModelNotFound" in status, status
    models.kubectl("delete", "mdep/absent", "--timeout=120s")


def await_message(models: product.Product, pattern: str) -> str:
    """The model's sentence about its replicas, once this is in it."""

    def message() -> str:
        found = str((models.model().get("status", {}).get("scaling") or {}).get("message", ""))
        return found if re.search(pattern, found) else ""

    return until(
        message,
        pattern,
        deadline_s=600,
        poll_s=0.5,
        explain=lambda: json.dumps(models.model()) + models.kubectl("get", "pods,events", "--output=wide"),
    )
