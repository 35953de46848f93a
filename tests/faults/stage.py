"""What all runs share: the API server, the warm process that operators are forked from, the folder of their logs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tests.faults import kube, prefork
from tests.faults.bench import Bench
from tests.faults.run import MakeBench

from fairlead_cli.local import cluster


@contextlib.contextmanager
def opened(kubernetes: cluster.LocalCluster, folder: Path) -> Iterator[MakeBench]:
    """Makes benches on a running cluster."""
    account = kubernetes.service_account_kubeconfig("fairlead-system", "fairlead-operator")
    token = json.loads(account.read_text())["users"][0]["user"]["token"]
    api = kube.Kube(kubernetes.kubeconfig)
    try:
        with prefork.Nursery() as nursery:
            yield lambda: Bench(api, nursery, credentials=token, folder=folder)
    finally:
        api.close()
