"""The Ray Serve deployment of a stage after the first one: loads its part, and answers the first stage's calls.

It takes one request of Ray at a time, `join`, which lasts as long as the connection to a first stage does. So Ray gives
each first stage another copy, and stops a copy only once its first stage has closed the connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fairlead_runtime import config, starting
from fairlead_runtime.errors import LoadError, LoadReason, one_sentence
from fairlead_runtime.model import digest, prepare
from fairlead_runtime.model.cache import Fetched
from fairlead_runtime.model.predictor import Predictor, Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.protocols import example
from fairlead_runtime.replica import threads_of_replica
from fairlead_runtime.stages import kept, links, loading

LOG = logging.getLogger(__name__)
CALL_S_MAX = 60.0
"""A call that takes longer, and twice as long as any client waits, will not return."""


class StageReplica:
    """One copy of one stage of one revision."""

    def __init__(self, raw: Mapping[str, object], number: int) -> None:
        """Cheap, as that of `replica.Replica`."""
        self._config = config.parse(raw)
        self._number = number
        self._starting = asyncio.Lock()
        self._kept: kept.KeptCut | None = None
        self._content: Fetched | None = None
        self._predictor: Predictor | None = None
        self._begun_s: float | None = None

    async def reconfigure(self, user_config: Mapping[str, object] | None) -> None:
        """Loads the part at the first call; later ones only hold it to the digest pinned meanwhile."""
        pinned = starting.pinned_digest(user_config)
        async with self._starting:
            with starting.stated():
                if self._predictor is None:
                    await starting.start_after_pause(self._config, lambda: asyncio.to_thread(self._load, pinned))
                elif self._content is not None:
                    digest.verify(self._content.digest, pinned)

    async def check_health(self) -> None:
        """Ray replaces a replica whose check raises."""
        if self._predictor is None:
            # Without a user_config Ray never calls `reconfigure`; its first health check comes instead.
            await self.reconfigure(None)
        begun_s = self._begun_s
        age_s = 0.0 if begun_s is None else time.monotonic() - begun_s
        if age_s > max(CALL_S_MAX, 2 * self._config.limits.request_timeout_seconds):
            raise RuntimeError(
                f"stage {self._number} can't answer: a call of the model has not returned for {age_s:.0f} s"
            )
        if self._kept is not None and self._content is not None:
            self._kept.lease.touch()
            self._content.lease.touch()

    async def join(self, invitation: Mapping[str, object]) -> None:
        """Connects to a first stage, and returns when that has closed the connection."""
        given = links.read_invitation(invitation)
        if self._predictor is None or self._kept is None:
            raise LoadError(LoadReason.CUT_FAILED, f"stage {self._number} is not loaded")
        if given.cut != self._kept.cut.digest:
            text = "another version of TensorFlow on this node cut the model in other places"
            raise LoadError(LoadReason.CUT_FAILED, f"stage {self._number}: {text}")
        LOG.info("stage %d connects to the first stage at %s:%d", self._number, given.host, given.port)
        try:
            await asyncio.to_thread(links.connect_and_serve, given, self._call)
        except OSError as error:
            LOG.warning("stage %d: the connection to the first stage broke: %s", self._number, one_sentence(str(error)))

    def _call(self, inputs: Tensors) -> Tensors:
        if self._predictor is None:
            raise RuntimeError("the part is not loaded")
        self._begun_s = time.monotonic()
        try:
            return self._predictor(inputs)
        finally:
            self._begun_s = None

    def _load(self, pinned: str | None) -> None:
        parallelism = self._config.parallelism
        if parallelism is None:
            raise LoadError(LoadReason.CONFIG_INVALID, "parallelism: is missing; a stage needs the number of stages")
        started_s = time.perf_counter()
        wanted, cache = prepare.fetch(self._config, pinned, config.environment(), threads=threads_of_replica())
        found = loading.cut(wanted, cache, parallelism.stages, self._read_examples)
        predictor = found.open_stage(self._number, threads=wanted.threads)
        self._kept, self._content, self._predictor = found, wanted.fetched, predictor
        took_s = time.perf_counter() - started_s
        LOG.info(
            "stage %d of %s is loaded in %.1f s: %s", self._number, wanted.fetched.digest, took_s, found.cut.describe()
        )

    def _read_examples(self, folder: Path, signature: Signature) -> Sequence[Tensors]:
        return example.read(self._config.example, folder, signature)
