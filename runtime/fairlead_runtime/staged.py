"""A model in stages, as its first stage has it: its own part, and the connections to the others."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from fairlead_runtime import config
from fairlead_runtime.config import Engine
from fairlead_runtime.errors import one_sentence
from fairlead_runtime.model import engine
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.onnx.conversions import Wanted
from fairlead_runtime.model.predictor import LoadedModel
from fairlead_runtime.server import listener
from fairlead_runtime.stages import links, loading
from fairlead_runtime.stages.record import Cut

LOG = logging.getLogger(__name__)
SAY_AGAIN_S = 30.0
CALL_S_MIN = 30.0
"""A call of one stage may take so long, or as long as a client waits."""


class StagedModel:
    """`handles` are Ray's for the deployments of the other stages, in order."""

    def __init__(self, given: config.ReplicaConfig, handles: Sequence[Any]) -> None:
        self._given = given
        self._joins = [_make_join(handle) for handle in handles]
        self._links: links.Links | None = None
        self.cut: Cut | None = None

    def load(self, wanted: Wanted, cache: Cache, read_examples: loading.ReadExamples) -> engine.Served:
        """Waits until all stages are connected; raises LoadError.

        Ray says of a stage that doesn't start why, so the first one has nothing to add.
        """
        kept = loading.cut(wanted, cache, len(self._joins) + 1, read_examples)
        first = kept.open_stage(1, threads=wanted.threads)
        connected = self._connect(kept.cut.digest)
        predictor = links.StagedPredictor(first, connected)
        self.cut = kept.cut
        model = LoadedModel(
            signature=kept.cut.signature.signature(),
            predictor=predictor,
            kind=f"stage 1 of {len(kept.cut.parts)}",
            folder=kept.checked.folder,
        )
        choice = engine.Choice(
            engine=Engine.TENSORFLOW,
            reason=engine.EngineReason.REQUESTED,
            why=f"spec.optimization.parallelism: {kept.cut.describe()}",
        )
        return engine.Served(model=model, choice=choice, leases=(kept.lease,))

    def absent(self) -> str | None:
        """Which stages are not connected, as a sentence; None where all are."""
        return self._links.absent() if self._links is not None else None

    def close(self) -> None:
        """Lets the other stages go."""
        if self._links is not None:
            self._links.close()
            self._links = None

    def _connect(self, cut: str) -> links.Links:
        # Of a start that failed after this.
        self.close()
        bound: socket.socket = listener.bind_free_port(config.node_environment().replica_host)
        timeout_s = max(CALL_S_MIN, self._given.limits.request_timeout_seconds)
        connected = links.Links(bound, self._joins, cut=cut, timeout_s=timeout_s)
        self._links = connected
        while not connected.wait(SAY_AGAIN_S):
            LOG.warning("waiting: %s", connected.absent())
        return connected


def _make_join(handle: Any) -> links.Join:
    def join(invitation: links.Invitation) -> None:
        try:
            handle.join.remote(invitation.as_mapping()).result()
        except (RayError, RayServeException) as error:
            raise links.JoinError(one_sentence(str(error))) from None

    return join
