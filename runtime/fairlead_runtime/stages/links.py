"""The first stage's connections to the others. Ray starts these and says where they are; tensors don't pass through it.

The first stage listens, and asks each other stage by Ray to connect: this request stays open as long as the connection
does. A stage takes one such request at a time, so Ray gives each first stage another copy of a stage, and waits with
stopping a stage until its connection is closed.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.model.predictor import InputRefusedError, ModelFailedError, Predictor, Tensors, ValueFailedError
from fairlead_runtime.stages import wire

LOG = logging.getLogger(__name__)
HOLD_S = 1.0
"""So long a request waits for another copy of a stage before it is refused."""
HELLO_S = 5.0
HELLO_BYTES_MAX = 100
GREETINGS_MAX = 32
"""More connections that have not yet shown who they are are closed at once."""
PAUSE_S = 0.5
"""Before a stage that could not connect is asked again."""


class JoinError(Exception):
    """A stage could not be asked, or did not connect, or is gone; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Where a stage connects to, what it says there, and which cut it must be a part of."""

    host: str
    port: int
    secret: str
    cut: str

    def as_mapping(self) -> Mapping[str, object]:
        return {"host": self.host, "port": self.port, "secret": self.secret, "cut": self.cut}


def read_invitation(given: Mapping[str, object]) -> Invitation:
    """Raises JoinError for what is none."""
    match given:
        case {"host": str(host), "port": int(port), "secret": str(secret), "cut": str(cut)}:
            return Invitation(host=host, port=port, secret=secret, cut=cut)
        case _:
            raise JoinError("the first stage is of another version")


Join = Callable[[Invitation], None]
"""Asks a copy of a stage to connect, and returns when the connection has ended; raises JoinError."""


class Link:
    """The connection to one stage: at most one call at a time, from any thread."""

    def __init__(self, stage: int, *, timeout_s: float) -> None:
        self._stage = stage
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._calling = threading.Lock()
        self._connection: socket.socket | None = None
        self._down_since_s = time.monotonic()

    @property
    def is_up(self) -> bool:
        """Whether the stage is connected."""
        return self._connection is not None

    def attach(self, connection: socket.socket) -> None:
        """Takes the place of an earlier connection."""
        wire.prepare(connection, timeout_s=self._timeout_s)
        with self._changed:
            self._drop()
            self._connection = connection
            self._changed.notify_all()

    def detach(self, connection: socket.socket | None = None) -> None:
        """Closes this connection, or whichever there is."""
        with self._changed:
            if connection is None or connection is self._connection:
                self._drop()

    def wait(self, timeout_s: float) -> bool:
        """Whether the stage is connected by then."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connection is not None, timeout_s)

    def __call__(self, inputs: Tensors) -> Tensors:
        """What the stage gives; where its connection breaks, once more by the next one.

        Raises:
            RequestError: there is no copy of the stage (StageGone). And what a Predictor raises.
        """
        for _ in range(2):
            connection = self._wait_for_connection()
            try:
                with self._calling:
                    wire.send(connection, wire.Message(kind=wire.Kind.TENSORS, tensors=inputs))
                    answer = wire.receive(connection)
            except TimeoutError:
                self.detach(connection)
                raise self._gone_error("did not answer in time") from None
            except OSError:
                answer = None
            if answer is not None:
                return _tensors_of(answer)
            self.detach(connection)
        raise self._gone_error("stopped")

    def _wait_for_connection(self) -> socket.socket:
        left_s = max(0.0, HOLD_S - (time.monotonic() - self._down_since_s))
        with self._changed:
            self._changed.wait_for(lambda: self._connection is not None, left_s)
            if self._connection is not None:
                return self._connection
        raise self._gone_error("is not there")

    def _gone_error(self, what: str) -> RequestError:
        text = f"stage {self._stage} of the model {what}; Ray starts it again"
        return RequestError(RequestReason.STAGE_GONE, text)

    def _drop(self) -> None:
        if self._connection is not None:
            # A thread may be reading from it, which close() alone would not end.
            _shut(self._connection)
            self._connection = None
            self._down_since_s = time.monotonic()


class Links:
    """All stages but the first, each with a thread that has it connect again whenever its connection ends."""

    def __init__(self, listener: socket.socket, joins: Sequence[Join], *, cut: str, timeout_s: float) -> None:
        """`listener` is bound; `joins` has one for each stage from the second on."""
        listener.setblocking(True)
        listener.listen()
        host, port = listener.getsockname()[:2]
        self._listener = listener
        self._is_closed = threading.Event()
        self._greetings = threading.BoundedSemaphore(GREETINGS_MAX)
        self._secrets = [secrets.token_hex(32) for _ in joins]
        self.links = tuple(Link(number, timeout_s=timeout_s) for number in range(2, len(joins) + 2))
        invitations = [Invitation(host=host, port=port, secret=secret, cut=cut) for secret in self._secrets]
        self._threads = [threading.Thread(target=self._accept, name="fairlead-stages", daemon=True)]
        for link, join, invitation in zip(self.links, joins, invitations, strict=True):
            thread = threading.Thread(
                target=self._keep, args=(link, join, invitation), name="fairlead-stage", daemon=True
            )
            self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def absent(self) -> str | None:
        """Which stages are not connected, as a sentence; None where all are."""
        gone = [str(number) for number, link in enumerate(self.links, start=2) if not link.is_up]
        if not gone:
            return None
        return f"stage {' and '.join(gone)} of the model is not there; Ray starts it again"

    def wait(self, timeout_s: float) -> bool:
        """Whether all stages are connected by then."""
        deadline_s = time.monotonic() + timeout_s
        return all(link.wait(max(0.0, deadline_s - time.monotonic())) for link in self.links)

    def close(self) -> None:
        """Ends all connections, so that the stages may stop."""
        self._is_closed.set()
        _shut(self._listener)
        for link in self.links:
            link.detach()

    def _accept(self) -> None:
        while not self._is_closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # Closed, or no file handle is left: the next turn tries again.
                self._is_closed.wait(PAUSE_S)
                continue
            if self._greetings.acquire(blocking=False):
                # On a thread of its own, as one that says nothing would keep the stages waiting.
                threading.Thread(target=self._greet, args=(connection,), name="fairlead-greeting", daemon=True).start()
            else:
                connection.close()

    def _greet(self, connection: socket.socket) -> None:
        """Gives the connection to the link whose secret it says, or closes it."""
        try:
            connection.settimeout(HELLO_S)
            self._attach(connection, wire.receive(connection, head_bytes_max=HELLO_BYTES_MAX))
        except OSError as error:
            LOG.warning("a connection to the first stage was refused: %s", error)
            connection.close()
        finally:
            self._greetings.release()

    def _attach(self, connection: socket.socket, hello: wire.Message | None) -> None:
        """Raises OSError for one that knows no secret."""
        for link, secret in zip(self.links, self._secrets, strict=True):
            if hello is not None and hmac.compare_digest(hello.text.encode(), secret.encode()):
                link.attach(connection)
                if self._is_closed.is_set():
                    link.detach()
                return
        raise wire.WireError("it does not know the secret of a stage")

    def _keep(self, link: Link, join: Join, invitation: Invitation) -> None:
        while not self._is_closed.is_set():
            try:
                join(invitation)
            except JoinError as error:
                if not self._is_closed.is_set():
                    LOG.warning("a stage of the model is not connected: %s", error)
            link.detach()
            self._is_closed.wait(PAUSE_S)


class StagedPredictor:
    """The model as its stages, one after the other; the first one runs here."""

    def __init__(self, first: Predictor, links: Links) -> None:
        self._first = first
        self.links = links

    def __call__(self, inputs: Tensors) -> Tensors:
        """Raises what a Predictor raises, and RequestError (StageGone)."""
        tensors = self._first(inputs)
        for link in self.links.links:
            tensors = link(tensors)
        return tensors


def connect_and_serve(invitation: Invitation, predictor: Predictor) -> None:
    """The other end: answers the first stage's calls until it closes the connection; raises OSError."""
    with socket.create_connection((invitation.host, invitation.port), timeout=HELLO_S) as connection:
        wire.prepare(connection, timeout_s=None)
        wire.send(connection, wire.Message(kind=wire.Kind.HELLO, text=invitation.secret))
        while (asked := wire.receive(connection)) is not None:
            wire.send(connection, _answer(predictor, asked))


def _answer(predictor: Predictor, asked: wire.Message) -> wire.Message:
    if asked.kind is not wire.Kind.TENSORS:
        raise wire.WireError("the first stage sent no tensors")
    try:
        return wire.Message(kind=wire.Kind.TENSORS, tensors=predictor(asked.tensors))
    except InputRefusedError as error:
        return wire.Message(kind=wire.Kind.INPUT_REFUSED, text=str(error))
    except ValueFailedError as error:
        return wire.Message(kind=wire.Kind.FAILED_BY_VALUE, text=str(error))
    except ModelFailedError as error:
        return wire.Message(kind=wire.Kind.FAILED, text=str(error))


def _tensors_of(answer: wire.Message) -> Tensors:
    match answer.kind:
        case wire.Kind.TENSORS:
            return answer.tensors
        case wire.Kind.INPUT_REFUSED:
            raise InputRefusedError(answer.text)
        case wire.Kind.FAILED_BY_VALUE:
            raise ValueFailedError(answer.text)
        case wire.Kind.FAILED | wire.Kind.HELLO:
            raise ModelFailedError(answer.text)


def _shut(connection: socket.socket) -> None:
    # An error says that it is not connected any more.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
