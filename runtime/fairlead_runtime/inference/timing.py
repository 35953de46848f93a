"""How long the model took for one request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Timing:
    """Written by the thread that calls the model, before the request's result is there.

    Not frozen: making one is on the hot path.
    """

    call_s: float = 0.0
    """Seconds of the call of the model that gave the outputs, which other requests may have shared."""
