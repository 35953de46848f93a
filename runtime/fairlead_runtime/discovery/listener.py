"""The node's well-known address: every replica of the node listens there, and the kernel picks one for each connection.

Source: socket(7), SO_REUSEPORT: all of them must be of one user, so nobody else can join.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from concurrent.futures import Future

from fairlead_runtime.discovery import request
from fairlead_runtime.discovery.folder import FolderError
from fairlead_runtime.discovery.request import RefusedError
from fairlead_runtime.discovery.scrape import Scrape
from fairlead_runtime.discovery.watch import Watch
from fairlead_runtime.errors import LoadError, LoadReason

LOG = logging.getLogger(__name__)
BACKLOG = 128
CONNECTIONS_MAX = 256
HEAD_BYTES_MAX = 4096
IDLE_S = 30.0
WRITE_S = 5.0
_JSON = "application/json"
_PLAIN = "text/plain; charset=utf-8"
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
_PHRASES = {
    200: "OK",
    304: "Not Modified",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


def bind(host: str, port: int) -> socket.socket:
    """The address, shared with the node's other replicas; raises LoadError (CannotListen). It doesn't listen yet."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        text = f"FAIRLEAD_NODE_DIRECTORY, {host}:{port}, can't be bound: {error.strerror}"
        raise LoadError(LoadReason.CANNOT_LISTEN, text) from None
    bound.setblocking(False)
    return bound


class DirectoryThread:
    """Answers for the folder on a thread of its own, whatever the model does. Methods may be called from any thread."""

    def __init__(self, bound: socket.socket, watch: Watch, *, replica_host: str) -> None:
        """The node's replicas listen at `replica_host`."""
        self._bound = bound
        self._watch = watch
        self._scrape = Scrape(replica_host, watch)
        self._loop = asyncio.new_event_loop()
        self._started: Future[None] = Future()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="fairlead-directory", daemon=True)

    def start(self) -> None:
        """Returns once connections are accepted; raises what went wrong."""
        self._thread.start()
        self._started.result()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Closes the address and gives those who wait their answer. Blocks."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)
        finally:
            self._bound.close()
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, sock=self._bound, limit=HEAD_BYTES_MAX, backlog=BACKLOG)
        self._started.set_result(None)
        await self._stop.wait()
        self._watch.stop()
        # What was accepted last has to reach the server before it is closed: else asyncio leaves its socket open.
        self._loop.remove_reader(self._bound)
        await asyncio.sleep(0)
        server.close()
        await _end_others()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= CONNECTIONS_MAX:
            await _close(writer)
            return
        self._connections.add(task)
        try:
            while await self._answer_request(reader, writer):
                pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The client is gone or too slow, or the thread ends.
            pass
        finally:
            await _close(writer)
            self._connections.discard(task)

    async def _answer_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Reads and answers one request; whether another one may come."""
        head = await self._head(reader)
        keep_alive, kind = False, _PLAIN
        try:
            if head is None:
                raise RefusedError(400, f"the request's head has more than {HEAD_BYTES_MAX} bytes")
            asked = request.parse(head)
            keep_alive = asked.keep_alive
            if asked.is_scrape:
                status, body, kind = 200, await self._scrape.page(), _EXPOSITION
            else:
                answer = await self._watch.wait(asked.since, asked.wait_s)
                status, body = (304, b"") if answer is None else (200, answer.body)
                kind = _JSON
        except RefusedError as refused:
            status, body, kind = refused.status, refused.sentence.encode(), _PLAIN
        except FolderError as unknown:
            LOG.warning("the node's replicas can't be listed: %s", unknown)
            status, body, kind = 503, b"the node's replicas are unknown; the replica's log says why", _PLAIN
        keep_alive = keep_alive and not self._stop.is_set()
        writer.write(_render(status, body, kind=kind, keep_alive=keep_alive))
        async with asyncio.timeout(WRITE_S):
            await writer.drain()
        return keep_alive

    async def _head(self, reader: asyncio.StreamReader) -> bytes | None:
        """The request's head; None when it is too long. An idle connection does not keep the thread from ending."""
        read = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((read, stopped), timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            if not read.done():
                raise TimeoutError
            return read.result()
        except asyncio.LimitOverrunError:
            return None
        finally:
            read.cancel()
            stopped.cancel()


async def _end_others() -> None:
    """Wait until every other task has ended: those of open connections, and of connections just accepted."""
    this = asyncio.current_task()
    while others := asyncio.all_tasks() - {this}:
        _, late = await asyncio.wait(others, timeout=1.0)
        for task in late:
            task.cancel()
    # A transport that was aborted closes its socket in the loop's next round.
    await asyncio.sleep(0)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close a connection once its client has what was written, or at once where the client does not take it."""
    writer.close()
    try:
        async with asyncio.timeout(WRITE_S):
            await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.CancelledError):
        writer.transport.abort()


def _render(status: int, body: bytes, *, kind: str, keep_alive: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}"]
    if status != 304:
        lines += [f"content-type: {kind}", f"content-length: {len(body)}"]
    if not keep_alive:
        lines.append("connection: close")
    return "\r\n".join((*lines, "", "")).encode() + body
