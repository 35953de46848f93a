"""How a deployment of ours starts in Ray: after a pause where it failed before; where it fails, with one sentence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from fairlead_runtime import config, failed_starts
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.evaluation_record import Outcome
from fairlead_runtime.model.prepare import PreparedModel

LOG = logging.getLogger(__name__)
UNUSED_STATISTICS = (Outcome.OTHER_MODEL, Outcome.UNREADABLE)


def pinned_digest(user_config: Mapping[str, object] | None) -> str | None:
    """The digest that the operator holds the replica to; raises LoadError (ConfigInvalid)."""
    pinned = (user_config or {}).get("digest")
    if pinned is not None and not isinstance(pinned, str):
        raise LoadError(LoadReason.CONFIG_INVALID, "user_config.digest: must be a string such as sha256:…")
    return pinned


@contextmanager
def stated() -> Iterator[None]:
    """A LoadError leaves the block as its sentence alone.

    Ray publishes the traceback's text: the loader's one sentence is for it, our stack is for our log.
    """
    try:
        yield
    except LoadError as error:
        LOG.warning("the replica can't start", exc_info=error)
        raise error.with_traceback(None) from None


async def start_after_pause(given: config.ReplicaConfig, start: Callable[[], Awaitable[None]]) -> None:
    """Waits where the revision failed to start on this node again and again; raises what `start` raises."""
    failed = failed_starts.FailedStarts(
        config.environment().cache_dir,
        namespace=given.namespace,
        model=given.model,
        revision=given.revision,
        attempt=given.attempt,
    )
    pause_s = failed.pause_s()
    if pause_s > 0:
        LOG.warning("the revision failed to start on this node again and again: waiting %.1f s", pause_s)
        await asyncio.sleep(pause_s)
    try:
        await start()
    except Exception:
        await asyncio.to_thread(failed.record)
        raise
    await asyncio.to_thread(failed.clear)


def log_start(name: str, port: int, prepared: PreparedModel, phases_s: Mapping[str, float]) -> None:
    """What serves from now on, and why: one line each for the model and its parts."""
    LOG.info("%s serves %s on port %d: %s, %s", name, prepared.digest, port, prepared.model.kind, phases_s)
    LOG.info(
        "the engine is %s (%s): %s",
        *(prepared.engine.engine.value, prepared.engine.reason.value, prepared.engine.why),
    )
    if prepared.variant is not None:
        LOG.info(
            "the variant is %s (%s): %s",
            *(prepared.variant.name, prepared.variant.reason.value, prepared.variant.why),
        )
    found = prepared.evaluation
    LOG.info("the evaluation record: %s %s", found.outcome.value, found.message)
    reference = prepared.reference
    level = logging.WARNING if reference.outcome in UNUSED_STATISTICS else logging.INFO
    LOG.log(level, "the reference statistics: %s %s", reference.outcome.value, reference.message)
    shares = "share calls" if prepared.merging.is_proved else "share no calls"
    LOG.info("requests %s of the model: %s", shares, prepared.merging.why)
