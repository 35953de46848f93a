"""What one cluster has to remember between runs of the command: ports, marks, options. Secrets are not in it."""

from __future__ import annotations

import enum
import hashlib
import json
import os
import pathlib
import re
import secrets
from typing import Self

import pydantic

from fairlead_cli.local import errors, options

# Not under TMPDIR, which may be long: a Unix socket's path is at most 107 bytes.
_SHORT = pathlib.Path("/tmp")  # noqa: S108 - the folder is made 0700 and must not exist before
RUN_PREFIX = f"fairlead-{os.getuid()}-"


_MARK = re.compile("[0-9a-f]{32}")


class Phase(enum.StrEnum):
    """A cluster in `STARTING` without a locked lock was left by a killed run; it is removed, never continued."""

    STARTING = "Starting"
    UP = "Up"


class State(pydantic.BaseModel):
    """`run` is the short folder for sockets; `mark` is carried by each process of the cluster in its environment.

    `network` is set for a cluster with nodes: the second number of its addresses (see `node/addresses.py`). `nodes` is
    how many there are then.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    phase: Phase
    chosen: options.Options
    mark: str
    run: pathlib.Path
    ports: dict[str, int] = {}
    network: int | None = None
    nodes: int = 1

    @classmethod
    def new(cls, name: str, root: pathlib.Path, chosen: options.Options) -> Self:
        """A fresh state; the run folder's name is the same for the same root, so that it is found without the state."""
        return cls(name=name, phase=Phase.STARTING, chosen=chosen, mark=secrets.token_hex(16), run=run_dir(root))

    @classmethod
    def read(cls, path: pathlib.Path) -> Self | None:
        """The remembered state; None when there is none.

        Raises:
            LocalClusterError: it is not one of this version's.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = "".join(f"{part}: " for part in first["loc"])
            down = f"`fairlead local down --name {path.parent.name}`"
            raise errors.LocalClusterError(
                f"{path} was written by another version of Fairlead, or is damaged ({where}{first['msg']})."
                f" {down} ends what runs and removes it; `up` starts afresh then"
            ) from error

    def write(self, path: pathlib.Path) -> None:
        """Remember this state; a reader sees the old or the new one, never a half."""
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("w") as file:
            file.write(self.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def read_mark(path: pathlib.Path) -> str | None:
    """The mark of a state that any version wrote, "" where it has none that can be read; None when there is none."""
    try:
        written = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return ""
    mark = written.get("mark") if isinstance(written, dict) else None
    return mark if isinstance(mark, str) and _MARK.fullmatch(mark) else ""


def run_dir(root: pathlib.Path) -> pathlib.Path:
    """A short path of its own for each root."""
    digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
    return _SHORT / f"{RUN_PREFIX}{digest}"
