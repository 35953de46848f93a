"""The one write to Ray: the whole Serve config of a cluster, by the Lease's holder alone."""

from __future__ import annotations

from typing import Protocol

from fairlead_operator.clients import errors, ray_serve

LEASE_MARGIN_S = 2.0


class ServeWrites(Protocol):
    async def put_applications(self, body: bytes) -> None: ...


class Lease(Protocol):
    def remaining_s(self) -> float: ...


async def put_config(writes: ServeWrites, body: bytes, *, lease: Lease) -> None:
    """PUT, if the Lease surely outlives the request: Ray can't refuse a past leader's late write.

    Raises:
        errors.RetryLater: Too little of the Lease is left.
        errors.FairleadError: Ray refused, or it is not known whether the write happened.
    """
    if lease.remaining_s() < ray_serve.PUT_TIMEOUT_S + LEASE_MARGIN_S:
        raise errors.RetryLater("the Lease has too little time left for a write to Ray", retry_after_s=1.0)
    await writes.put_applications(body)
