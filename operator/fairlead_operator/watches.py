"""One watch of each namespace: when it starts, and that it is started again where it brings nothing more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection
from typing import Any

from fairlead_operator import handlers, health, telemetry
from fairlead_operator.clients import kubernetes
from fairlead_operator.clients.clock import Clock

TEND_S = 5.0
FIRST_LISTING_MAX_S = 60.0
"""After this time a watch starts, also if the models of its namespace could not be listed yet."""
SILENT_MAX_S = 60.0

log = logging.getLogger(__name__)


class Watches:
    """The watches of the given namespaces; None stands for all namespaces."""

    def __init__(
        self,
        namespaces: Collection[str | None],
        notice: handlers.Notice,
        configuration: Any,
        *,
        ledger: health.WatchLedger,
        clock: Clock,
        metrics: telemetry.Metrics,
    ) -> None:
        self._namespaces = namespaces
        self._notice = notice
        self._configuration = configuration
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._started: dict[str | None, handlers.NamespaceWatch] = {}
        self._is_stopped = False

    def start_late(self) -> None:
        """Start each watch after `FIRST_LISTING_MAX_S`, unless it has started by then."""
        for namespace in self._namespaces:
            asyncio.get_running_loop().call_later(FIRST_LISTING_MAX_S, self.start, namespace)

    def start(self, namespace: str | None) -> None:
        """Start the watch of a namespace, once; called after its first listing.

        What the watch lists again is known then, and no object is read for it. As the listings take turns, the watches
        never hold all objects of all namespaces at the same time.
        """
        if namespace in self._started or self._is_stopped:
            return
        loop = asyncio.get_running_loop()
        watch = handlers.NamespaceWatch(namespace, self._notice, self._fetch_credentials, loop=loop, clock=self._clock)
        self._started[namespace] = watch
        watch.start()

    async def tend(self) -> None:
        """Start again each watch that is deaf or not there."""
        deaf = self._ledger.find_deaf()
        for namespace, watch in self._started.items():
            is_deaf = bool(deaf) if namespace is None else namespace in deaf
            if is_deaf or watch.silent_s() > SILENT_MAX_S:
                log.warning("a watch is deaf or gone", extra={"namespace": namespace or "all", "deaf": is_deaf})
                watch.restart()
        self._metrics.watch_starts.set(sum(watch.starts for watch in self._started.values()))

    def stop(self) -> None:
        """End all watches; none starts afterwards."""
        self._is_stopped = True
        for watch in self._started.values():
            watch.stop()

    def _fetch_credentials(self) -> Awaitable[kubernetes.Credentials]:
        return kubernetes.fetch_credentials(self._configuration)
