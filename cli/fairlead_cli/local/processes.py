"""Starts the cluster's processes so that a later run can find and end them, whatever happened to this one."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from fairlead_cli.local import errors, process_table

MARK_VARIABLE = "FAIRLEAD_LOCAL_MARK"

# The process writes down who it is and only then becomes the program: there is no moment at which it runs unrecorded,
# even when the launcher is killed right after the fork. `exec` keeps number and start time.
_RECORD_THEN_EXEC = """
read -r stat < /proc/self/stat && read -r boot < /proc/sys/kernel/random/boot_id || exit 125
printf '%s\\n%s\\n%s\\n' "$boot" "$stat" "$*" > "$FAIRLEAD_LOCAL_RECORD.tmp" || exit 125
mv -f "$FAIRLEAD_LOCAL_RECORD.tmp" "$FAIRLEAD_LOCAL_RECORD" || exit 125
unset FAIRLEAD_LOCAL_RECORD
exec "$@"
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: `log` takes stdout and stderr, appended; `without` are prefixes of variables not to be inherited."""

    argv: Sequence[str]
    log: pathlib.Path
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    without: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The records of one cluster's processes; `mark` is the random value all of them carry in their environment."""

    folder: pathlib.Path
    mark: str

    def _record(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.pid"

    def names(self) -> tuple[str, ...]:
        """What was ever started and not taken out of the records."""
        return tuple(sorted(path.stem for path in self.folder.glob("*.pid")))

    def identity(self, name: str) -> process_table.Identity | None:
        """The process recorded under `name`, dead or alive; None when there is none or it was of another boot."""
        try:
            lines = self._record(name).read_text().splitlines()
        except FileNotFoundError:
            return None
        if len(lines) < 2 or lines[0] != process_table.boot_id():
            return None
        return process_table.parse_stat(lines[1]).identity

    def living(self, name: str) -> process_table.Identity | None:
        """The process recorded under `name` if it runs."""
        found = self.identity(name)
        return found if found is not None and process_table.is_alive(found) else None

    def start(self, name: str, command: Command) -> process_table.Identity:
        """Start a process in a session of its own and wait until it is recorded."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = self._record(name)
        record.unlink(missing_ok=True)
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(command.without)},
            **command.environment,
            MARK_VARIABLE: f"{self.mark}-{name}",
            "FAIRLEAD_LOCAL_RECORD": str(record),
        }
        with command.log.open("ab") as log:
            child = subprocess.Popen(
                ["/bin/sh", "-c", _RECORD_THEN_EXEC, "fairlead-local", *command.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        _reap_later(child)
        deadline = time.monotonic() + 10
        while (identity := self.identity(name)) is None:
            if child.poll() is not None or time.monotonic() > deadline:
                raise errors.LocalClusterError(f"{name} could not be started: see {command.log}")
            time.sleep(0.002)
        return identity

    def family(self, name: str) -> frozenset[process_table.Identity]:
        """All living processes that belong to `name`: it, its descendants, and those it left behind."""
        found = self.identity(name)
        return process_table.family([found] if found else [], mark=self._mark_of(name))

    def stop(self, name: str, *, grace_s: float, signal_number: int = signal.SIGTERM) -> None:
        """End `name` with all that belongs to it and forget it. SIGKILL: it alone, first, and its family after it.

        Raises:
            LocalClusterError: something of it can't be ended.
        """
        main = self.living(name)
        if main is not None:
            process_table.send([main], signal_number)
            _wait_for_end(main, grace_s)
        left = process_table.end(lambda: self.family(name), grace_s=grace_s)
        if left:
            raise errors.LocalClusterError(
                f"{name}: processes {sorted(each.pid for each in left)} could not be stopped"
            )
        self._record(name).unlink(missing_ok=True)

    def stop_everything(self, *, grace_s: float) -> None:
        """End all that carries the mark or is recorded, known by name or not."""
        roots = [found for name in self.names() if (found := self.identity(name)) is not None]
        mark = f"{MARK_VARIABLE}={self.mark}-".encode()
        left = process_table.end(lambda: process_table.family(roots, mark=mark), grace_s=grace_s)
        if left:
            raise errors.LocalClusterError(f"processes {sorted(each.pid for each in left)} could not be stopped")
        for name in self.names():
            self._record(name).unlink(missing_ok=True)

    def _mark_of(self, name: str) -> bytes:
        return f"{MARK_VARIABLE}={self.mark}-{name}\0".encode()


def _wait_for_end(identity: process_table.Identity, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while process_table.is_alive(identity) and time.monotonic() < deadline:
        time.sleep(0.02)


def _reap_later(child: subprocess.Popen[bytes]) -> None:
    """Keep a killed part from staying a zombie of ours; also, no ResourceWarning for a child that outlives us."""
    import threading

    threading.Thread(target=child.wait, daemon=True, name=f"reap-{child.pid}").start()
