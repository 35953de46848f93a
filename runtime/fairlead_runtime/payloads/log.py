"""Chooses the answered predictions of which events are sent: a sample, where the log is on. Refused ones have none."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import random
import time
from collections.abc import Callable, Mapping

from fairlead_runtime import config
from fairlead_runtime.config import Payloads
from fairlead_runtime.errors import LoadError
from fairlead_runtime.inference.dataplane import Dataplane
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.payload_counters import Outcome, PayloadCounters
from fairlead_runtime.payloads import event
from fairlead_runtime.payloads.event import Event, Origin
from fairlead_runtime.payloads.sender import LOGGED_EVERY_S, Sender
from fairlead_runtime.payloads.sink import Sink
from fairlead_runtime.protocols.http import Request, Response

LOG = logging.getLogger(__name__)
FLUSH_S = 2.0
"""What waits when the replica stops has so long to be sent."""


class PayloadLog:
    """Lives on the server's loop. Without settings nothing of a request is copied or kept."""

    def __init__(
        self, plane: Dataplane, namespace: str, counters: PayloadCounters, open_sink: Callable[[Payloads], Sink]
    ) -> None:
        identity = plane.identity
        self._plane = plane
        self._origin = Origin(
            namespace=namespace,
            model=identity.model,
            revision=identity.revision,
            number=identity.number,
            replica=identity.name,
        )
        self._counters = counters
        self._open_sink = open_sink
        self._settings: Payloads | None = None
        self._sender: Sender | None = None
        self._next_line_s = float("-inf")
        self._numbers = itertools.count()

    @property
    def is_on(self) -> bool:
        return self._settings is not None

    def follow(self, user_config: Mapping[str, object] | None) -> None:
        """Log as the operator asks from now on. What can't be read or set up turns the log off."""
        try:
            self.configure(config.parse_payloads(user_config))
        except LoadError as error:
            self._stop()
            LOG.error("the payload log is off: %s", error.sentence)
        except Exception:
            # The outermost place: whatever is wrong with a log must not stop a model, and Ray ends a replica whose
            # `reconfigure` raises.
            self._stop()
            LOG.exception("the payload log is off: it could not be set up")

    def configure(self, settings: Payloads | None) -> None:
        """Log by these settings from now on, None: not at all."""
        if settings == self._settings:
            return
        self._stop()
        if settings is None:
            LOG.info("the payload log is off")
            return
        self._sender = self._start(settings)
        self._settings, self._plane.is_logged = settings, True

    def _stop(self) -> None:
        if self._sender is not None:
            # Not to be sent any more: a later setting may redact what waits by this one.
            self._sender.stop(flush_s=0)
        self._settings, self._sender = None, None
        self._plane.is_logged = False

    def _start(self, settings: Payloads) -> Sender | None:
        self._counters.is_on = True
        unknown = event.find_unknown_names(settings, self._plane.signature)
        if unknown:
            # The name of a value that must not be sent may be misspelled.
            LOG.error("no events are sent: the model has no input or output %s", ", ".join(map(repr, unknown)))
            return None
        LOG.info("the payload log is on: %d %% of the predictions", settings.sample_percent)
        most = settings.max_event_bytes
        return Sender(
            self._open_sink(settings), lambda made: event.write(made, self._origin, bytes_max=most), self._counters
        )

    def offer(self, request: Request, response: Response) -> None:
        """Queue an event of an answered prediction, where it is one of the sample. Never waits."""
        tensors, response.tensors = response.tensors, None
        settings = self._settings
        if tensors is None or settings is None:
            return
        try:
            self._offer(request, response.protocol, tensors, settings)
        except Exception:
            # The outermost place: the answer is written, and its connection goes on whatever a log lacks, such as
            # memory for a copy.
            self._counters.add(Outcome.INTERNAL)
            if (now_s := time.monotonic()) >= self._next_line_s:
                self._next_line_s = now_s + LOGGED_EVERY_S
                LOG.exception("an event of the payload log could not be made")

    def _offer(self, request: Request, protocol: str, tensors: tuple[Tensors, Tensors], settings: Payloads) -> None:
        if not is_sampled(request.headers.get(b"x-request-id"), settings.sample_percent):
            return
        if self._sender is None:
            self._counters.add(Outcome.UNKNOWN_NAME)
            return
        signature, (inputs, outputs) = self._plane.signature, tensors
        self._sender.offer(
            Event(
                id=f"{self._origin.replica}-{next(self._numbers)}",
                time_s=time.time(),
                protocol=protocol,
                inputs=event.select(signature.inputs, inputs, settings),
                outputs=event.select(signature.outputs, outputs, settings),
                extensions=event.read_extensions(request.headers),
            )
        )

    async def close(self) -> None:
        """Send what waits, if the sink takes it in time."""
        sender = self._sender
        if sender is None:
            return
        sender.stop(flush_s=FLUSH_S)
        await asyncio.to_thread(sender.join, FLUSH_S)


def is_sampled(request_id: bytes | None, percent: int) -> bool:
    """Whether a request is one of the sample: by its id, so that all who see it decide the same; else by chance."""
    if not request_id:
        return random.random() * 100 < percent  # noqa: S311 - no secret
    number = int.from_bytes(hashlib.sha256(request_id).digest()[:8])
    return number * 100 < percent << 64
