"""A local cluster by its name, of the kind that it was started as."""

from __future__ import annotations

import pathlib

from fairlead_cli.local import cluster, progress
from fairlead_cli.local.node import cluster as node_cluster

Either = cluster.LocalCluster | node_cluster.NodeCluster


def opened(name: str, state_dir: pathlib.Path | None = None, *, reporter: progress.Reporter | None = None) -> Either:
    """The one with a node where there is such a one, up or left by a killed run; else the one without, up or not."""
    found = node_cluster.NodeCluster(name, state_dir, reporter=reporter)
    return found if found.has_node() else cluster.LocalCluster(name, state_dir, reporter=reporter)
