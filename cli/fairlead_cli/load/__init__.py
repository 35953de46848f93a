"""The counting client: a closed loop of requests, each with an id, in which every failure is recorded.

What counts as a failure:

* ``connect``: no connection could be opened for the request.
* ``reset``: the connection ended after the first byte of the request was handed to the kernel and before the first byte
  of an answer.
* ``cut``: the connection ended within an answer.
* ``timeout``: no complete answer in ``timeout_s``, counted from when the worker took the request up.
* ``status``: a complete answer, not 2xx.
* ``bad-answer``: 2xx, but not what was asked for (not HTTP, not JSON, another model, another shape, tensors that don't
  add up).
* ``wrong-id``: the answer carries the ``x-request-id`` of another request.

No request is ever sent twice. A keep-alive connection that the client *knows* to be closed before it writes (its
event loop has seen the end of it) is replaced, counted under ``reconnects.idle_closed``, and is no failure: nothing
was sent on it. Once the first byte is written, no client can tell "never read" from "read and lost"; so a close that
crossed a request on the wire is a ``reset``, even though HTTP would let a client repeat an idempotent request. Client
libraries hide a part of these; this one does not. Source: RFC 9112, sections 9.3.1 and 9.6.

``run`` is for an event loop; ``background`` runs the same in a process of its own, so that the caller's interpreter
lock doesn't slow it, nor the other way round.
"""

from fairlead_cli.load.process import Background, LoadFailed, background
from fairlead_cli.load.report import Failure, Kind, Progress, Report, RevisionReport
from fairlead_cli.load.runner import run
from fairlead_cli.load.settings import Settings

__all__ = [
    "Background",
    "Failure",
    "Kind",
    "LoadFailed",
    "Progress",
    "Report",
    "RevisionReport",
    "Settings",
    "background",
    "run",
]
