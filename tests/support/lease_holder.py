"""A process that holds a Lease and writes as fast as it can: ``python -m tests.support.lease_holder URL``."""

from __future__ import annotations

import asyncio
import os
import sys

from kubernetes.aio import client as aio_client

from fairlead_operator import election
from fairlead_operator.clients import clock, errors, kubernetes

DURATION_S = 12.0
LARGE_BYTES = 16 * 2**20
"""More than all the socket buffers between two processes."""
SMALL, LARGE = "/small", "/large"


async def main(url: str, selector: election.WakingSelector) -> None:
    election.LEASE_DURATION_S, election.RENEW_DEADLINE_S, election.RETRY_PERIOD_S = DURATION_S, 8.0, 0.2
    configuration = aio_client.Configuration(host=url)
    system = clock.SystemClock()
    lease_api = kubernetes.KubernetesClient(configuration, clock=system, on_request=lambda *_: None)
    lease = election.LeaseName(namespace="n", name="l")
    held = election.Election(lease_api, lease, identity="me", clock=system)
    api = kubernetes.KubernetesClient(configuration, clock=system, on_request=lambda *_: None, lease=held)
    selector.on_wake = lambda: os._exit(1) if held.has_run_out else None
    await held.acquire()
    await asyncio.gather(
        held.keep(lambda: os._exit(1)),
        *(write_for_ever(api, SMALL, "") for _ in range(4)),
        write_for_ever(api, LARGE, "x" * LARGE_BYTES),
    )


async def write_for_ever(api: kubernetes.KubernetesClient, path: str, data: str) -> None:
    while True:
        try:
            await api.merge_patch(path, {"data": data})
        except errors.FairleadError:
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    waking = election.WakingSelector()
    asyncio.SelectorEventLoop(waking).run_until_complete(main(sys.argv[1], waking))
