"""Volumes on the node: rancher's local-path-provisioner makes a folder for each claim, and removes it with the claim.

The folders of the default class are below a node's own `/var`, those of the other class in the cluster's folder, which
has the same path on each node. `fairlead local down` removes both.
"""

from __future__ import annotations

import pathlib

from fairlead_cli.local.node import cluster, manifest_files

DEFAULT_CLASS = "local-path"
"""Its volumes are on one node, `ReadWriteOnce`."""
SHARED_CLASS = "shared-path"
"""Its volumes are on all nodes, also `ReadWriteMany` and `ReadOnlyMany`."""
FOLDER = pathlib.PurePosixPath("/var/lib/local-path")
"""Where a node has the folders of the default class."""
_NAME, _NAMESPACE = "local-path-provisioner", "local-path-storage"


def shared_folder(node: cluster.NodeCluster) -> pathlib.Path:
    """Where all nodes have the folders of the other class."""
    return node.root / "shared-volumes"


def install(node: cluster.NodeCluster) -> None:
    """Install the provisioner and both storage classes, and wait for it; done again it changes nothing.

    Raises:
        LocalClusterError: it can't be built, or does not become available.
    """
    manifest_files.apply(
        node.must,
        "storage.yaml",
        IMAGE=node.ensure_program_image(_NAME),
        # A pod with a shell makes and removes the folders.
        HELPER_IMAGE=node.ensure_image("base"),
        FOLDER=str(FOLDER),
        SHARED_FOLDER=str(shared_folder(node)),
    )
    manifest_files.await_deployment(node.must, _NAME, namespace=_NAMESPACE)
