"""The folder of a local cluster: its state, the processes that it started, and its lock."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from fairlead_cli.local import errors, locks, processes, progress, state


class Folder:
    """Any number of processes may hold an object for the same folder."""

    def __init__(self, name: str, root: pathlib.Path, *, starts: str, reporter: progress.Reporter) -> None:
        """Makes nothing. `name` is the cluster's, `starts` the command that starts it."""
        self._name = name
        self._root = root
        self._starts = starts
        self._reporter = reporter

    def read(self) -> state.State | None:
        """What is remembered; None when the cluster is not up.

        Raises:
            LocalClusterError: another version wrote it.
        """
        return state.State.read(self._state_path)

    def require(self) -> state.State:
        """What is remembered.

        Raises:
            LocalClusterError: the cluster is not up, or another version wrote it.
        """
        found = self.read()
        if found is None:
            raise errors.LocalClusterError(
                f"the local cluster {self._name!r} is not running; start it with `{self._starts}`"
            )
        return found

    def save(self, new: state.State) -> None:
        """Remember this instead."""
        new.write(self._state_path)

    def ledger(self) -> processes.Ledger:
        """The processes of the cluster that is up."""
        return self._ledger(self.require().mark)

    def left_ledger(self) -> processes.Ledger | None:
        """The same of whatever is left, also by another version; None where nothing is."""
        mark = state.read_mark(self._state_path)
        return self._ledger(mark) if mark is not None else None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time changes the cluster."""
        what = f"another command works on the cluster {self._name!r}"
        with locks.hold(self._root.with_name(self._root.name + ".lock"), what=what, reporter=self._reporter):
            yield

    def _ledger(self, mark: str) -> processes.Ledger:
        return processes.Ledger(folder=self._root / "processes", mark=mark)

    @property
    def _state_path(self) -> pathlib.Path:
        return self._root / "state.json"
