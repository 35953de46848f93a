"""Local clusters of tests end with their test run, or, where that was cut off, at the start of the next one."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import uuid
from collections.abc import Iterator
from typing import TypeVar

from fairlead_cli.local import either, paths, process_table

Owned = TypeVar("Owned", bound=either.Either)


@contextlib.contextmanager
def owned(local: Owned, *, notes: pathlib.Path | None = None) -> Iterator[Owned]:
    """Takes the cluster down at the end; a note says whose it is, for the case that this process can't."""
    folder = notes or paths.cache_dir() / "test-clusters"
    folder.mkdir(parents=True, exist_ok=True)
    end_orphans(folder)
    me = process_table.entry(os.getpid())
    assert me is not None
    note = folder / f"{uuid.uuid4().hex}.json"
    record = {"root": str(local.root), "pid": me.identity.pid, "startTicks": me.identity.start_ticks}
    new = note.with_suffix(".new")
    new.write_text(json.dumps(record), encoding="utf-8")
    new.replace(note)  # another run reads every note that there is
    try:
        yield local
    finally:
        local.down()
        note.unlink(missing_ok=True)


def end_orphans(folder: pathlib.Path) -> None:
    """Take down each cluster whose test run is gone."""
    for note in folder.glob("*.json"):
        with contextlib.suppress(
            FileNotFoundError, ValueError
        ):  # another run does the same, or was cut off amid its note
            record = json.loads(note.read_text(encoding="utf-8"))
            owner = process_table.Identity(pid=record["pid"], start_ticks=record["startTicks"])
            if process_table.is_alive(owner):
                continue
            root = pathlib.Path(record["root"])
            if root.exists():
                either.opened("orphan", root).down()
            note.unlink()
