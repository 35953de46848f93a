"""What all runs share: the API server and its namespaces, the process that operators are forked from, the logs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tests.faults import kube, namespaces, prefork
from tests.faults.bench import Bench
from tests.faults.run import MakeBench
from tests.support import kube_api

from fairlead_cli.local import cluster


@contextlib.contextmanager
def opened(kubernetes: cluster.LocalCluster, folder: Path) -> Iterator[MakeBench]:
    """Makes benches on a running cluster."""
    account = kubernetes.service_account_kubeconfig("fairlead-system", "fairlead-operator")
    token = json.loads(account.read_text())["users"][0]["user"]["token"]
    authority = folder / "authority.pem"
    authority.write_text(kube_api.authority(kubernetes.kubeconfig))
    api = kube.Kube(kubernetes.kubeconfig)
    rooms = namespaces.Namespaces(api)
    try:
        with prefork.Nursery(authority) as nursery:
            yield lambda: Bench(rooms, nursery, credentials=token, folder=folder)
    finally:
        api.close()
