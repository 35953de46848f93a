"""The operator's own settings as far as decisions depend on them; built once from ``Settings``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits and waits that the pure core is handed."""

    shutdown_margin_s: int = 10
    """Added to the request timeout: how long Ray lets a replica drain."""
    drain_s: int = 60
    """An old revision with requests in flight is removed after this long all the same."""
    proof_failures: int = 5
    """A candidate whose proof failed this often in a row has failed."""
    lost_s: float = 20.0
    """A revision without any ready replica for this long has failed, while the other one is ready."""
    unhealthy_s: float = 120.0
    """So has one that Ray calls unhealthy for this long, whatever of it is ready."""
    crash_loop_s: float = 600.0
    """So has one that Ray began to call unhealthy CRASHES_MAX times within this long."""
    deletion_unknown_s: float = 25.0
    """A deletion waits so long for what can't be read: a namespace that is deleted takes Ray and the gateways first.

    With the 15 s in which another operator takes over and the 15 s after which the namespace controller looks again, a
    namespace is gone within a minute."""
    deletion_stuck_s: float = 600.0
    """A deletion waits so long for what answers, but doesn't let go."""
    poll_s: float = 1.0
    """How soon to look again while something is on its way."""
    resync_s: float = 300.0
    """How soon to look again when nothing is on its way."""
    unknown_s: float = 5.0
    """How soon to look again when something could not be read."""
