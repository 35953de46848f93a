"""Why a candidate failed, in the loader's own words where there are any."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairlead_operator.api.text import one_line
from fairlead_operator.state.reasons import Reason

_OURS = re.compile(r"fairlead: ([A-Z][A-Za-z0-9]{1,62}): ([^\n]+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


# All that Ray's REST API says of a process that was gone before it was ready; the rest stands in its own logs.
_KILLED = "ActorDiedError()"
_KILLED_WORDS = (
    "The replica process was killed while it started. The usual cause is too little memory: check "
    "spec.serving.resources.memory and the memory of the worker pods (Ray: ActorDiedError)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """``reason`` is a word of the runtime's or a Reason of ours."""

    reason: str
    message: str


def find_stated(message: str) -> Failure | None:
    """What the runtime itself stated in Ray's message, in a line ``fairlead: <Reason>: <sentence>``."""
    found = list(_OURS.finditer(_ANSI.sub("", message)))
    return Failure(reason=found[-1].group(1), message=one_line(found[-1].group(2))) if found else None


def read_failure(message: str) -> Failure:
    """Reads Ray's message: what the runtime stated wins, else the last line of the traceback."""
    if (stated := find_stated(message)) is not None:
        return stated
    text = _ANSI.sub("", message)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and lines[-1].endswith(_KILLED):
        return Failure(reason=Reason.DEPLOY_FAILED, message=_KILLED_WORDS)
    return Failure(reason=Reason.DEPLOY_FAILED, message=one_line(lines[-1] if lines else "Ray gave no message."))
