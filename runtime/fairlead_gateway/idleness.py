"""Which models have had no request for a while: what the operator decides by that they need no replica."""

import time
from collections.abc import Callable, Mapping


class Idleness:
    """Counts from when it first knew a model, so a gateway that has just started calls none idle."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._last_s: dict[str, float] = {}
        self._limits_s: dict[str, int] = {}

    def follow(self, limits_s: Mapping[str, int]) -> None:
        """These models, each with the seconds after which it is idle, and no others."""
        now_s = self._now_s()
        self._limits_s = dict(limits_s)
        self._last_s = {model: self._last_s.get(model, now_s) for model in limits_s}

    def note(self, model: str) -> None:
        """A request of the model is under way, or has ended."""
        if model in self._last_s:
            self._last_s[model] = self._now_s()

    def is_idle(self, model: str) -> bool:
        """Whether there was no request for so long; False for a model that is not followed."""
        last_s = self._last_s.get(model)
        return last_s is not None and self._now_s() - last_s >= self._limits_s[model]
