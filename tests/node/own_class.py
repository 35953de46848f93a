"""A model with a ServingClass of its own, in a namespace of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from tests.node import pods, product

from fairlead_cli.local.node import cluster, release

_API_VERSION = "fairlead.dev/v1alpha1"


def class_spec(node: cluster.NodeCluster, **fields: object) -> dict[str, Any]:
    """A ServingClass's spec with the images of this clone and the chart's sizes; `fields` replace parts of it."""
    values = release.values(node)["servingClass"]
    image, gateway = (
        f"{each['repository']}@{each['digest']}" for each in (values["image"], values["gateway"]["image"])
    )
    return {
        "image": image,
        "rayVersion": "2.60.0",
        "head": values["head"],
        "worker": values["worker"],
        "gateway": {"image": gateway, "resources": values["gateway"]["resources"]},
        "sources": values["sources"],
        **fields,
    }


def serve(
    served: product.Product, name: str, url: str, *, class_name: str, version: str = "v1", **spec: object
) -> None:
    """Apply a ModelDeployment of the tests' model."""
    model = {"uri": url, "version": version}
    full = {"model": model, "cluster": {"class": class_name}, **spec}
    served.apply({"apiVersion": _API_VERSION, "kind": "ModelDeployment", "metadata": {"name": name}, "spec": full})


@contextlib.contextmanager
def namespace(
    node: cluster.NodeCluster, name: str, *, class_name: str, class_fields: Mapping[str, object]
) -> Iterator[product.Product]:
    """A namespace and a ServingClass; both are deleted with all models and their pods when the context ends."""
    metadata = {"name": class_name}
    spec = class_spec(node, **class_fields)
    made = product.make_namespace(node, name)
    made.apply({"apiVersion": _API_VERSION, "kind": "ServingClass", "metadata": metadata, "spec": spec})
    yield made
    made.kubectl("delete", "mdep", "--all", "--timeout=120s")
    made.await_no_pods()
    pods.run(node, "delete", f"namespace/{name}", "--timeout=240s")
    pods.run(node, "delete", f"sclass/{class_name}", "--timeout=60s")
