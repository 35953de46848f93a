"""This process as a member of its node: it listens for the directory, has its file there, drains and leaves."""

from __future__ import annotations

import logging
import socket
import threading

from fairlead_runtime.config import NodeEnvironment
from fairlead_runtime.discovery import folder, listener
from fairlead_runtime.discovery.entry import Replica
from fairlead_runtime.discovery.folder import FolderError, OwnFile, Reader
from fairlead_runtime.discovery.listener import DirectoryThread
from fairlead_runtime.discovery.watch import Watch
from fairlead_runtime.errors import LoadError, LoadReason

LOG = logging.getLogger(__name__)


class Member:
    """Methods may be called from any thread; all of them may wait for the disk."""

    def __init__(self, node: NodeEnvironment) -> None:
        """Takes the node's address without listening; raises LoadError when folder or address can't be used."""
        try:
            folder.prepare(node.folder)
        except FolderError as error:
            raise LoadError(LoadReason.NODE_MISCONFIGURED, f"FAIRLEAD_NODE_FOLDER: {error}") from None
        self._node = node
        self._bound: socket.socket | None = listener.bind(node.directory_host, node.directory_port)
        self._thread: DirectoryThread | None = None
        self._own: OwnFile | None = None
        self._lock = threading.Lock()

    def announce(self, replica: Replica) -> None:
        """Listens, then lists the replica as ready; raises LoadError."""
        with self._lock:
            if self._bound is None or self._thread is not None:
                raise RuntimeError("a member announces itself once")
            watch = Watch(self._node.cluster, Reader(self._node.folder), own_name=self._own_name, restore=self._restore)
            self._thread = DirectoryThread(self._bound, watch, replica_host=self._node.replica_host)
            self._thread.start()
            try:
                self._own = OwnFile(self._node.folder, replica)
            except FolderError as error:
                raise LoadError(LoadReason.NODE_MISCONFIGURED, f"FAIRLEAD_NODE_FOLDER: {error}") from None

    def check(self) -> None:
        """Writes the own file again if it is gone; raises FolderError, or RuntimeError when the thread has ended."""
        thread = self._thread
        if thread is not None and not thread.is_alive():
            raise RuntimeError("the node directory's thread has ended")
        self._restore()

    def drain(self) -> None:
        """Lists the replica as draining. Never raises: a replica that can't say so still drains."""
        with self._lock:
            if self._own is None:
                return
            try:
                self._own.drain()
            except FolderError as error:
                LOG.warning("the directory doesn't list this replica as draining: %s", error)

    def leave(self) -> None:
        """Takes the replica off the list, then closes the address."""
        with self._lock:
            own, self._own = self._own, None
            thread, self._thread = self._thread, None
            bound, self._bound = self._bound, None
        if own is not None:
            own.remove()
        if thread is not None:
            thread.stop()
        elif bound is not None:
            bound.close()

    def _restore(self) -> None:
        with self._lock:
            if self._own is not None:
                self._own.restore()

    def _own_name(self) -> str | None:
        # Without the lock: `leave` waits for the thread that asks.
        own = self._own
        return own.name if own is not None else None
