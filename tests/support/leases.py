"""The operator's Lease in tests that are not about how long it holds."""

from __future__ import annotations

from fairlead_cli.local import cluster

_LEASE = ("-n", "fairlead-system", "delete", "lease", "fairlead-operator", "--ignore-not-found")


def take_away(kubernetes: cluster.LocalCluster) -> None:
    """Delete the Lease of an operator that is dead, as time would end it: its successor leads at once."""
    done = kubernetes.kubectl(*_LEASE)
    assert done.returncode == 0, done.stderr
