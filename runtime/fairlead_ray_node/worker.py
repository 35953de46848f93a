"""How a forked process becomes a Ray worker: what `exec` would have reset is reset here."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import os
import pathlib
import signal
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Self

from fairlead_runtime.model import tensorflow_import


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the launcher asks for: the worker's arguments (script first), its folder and environment."""

    argv: Sequence[str]
    cwd: str
    environment: Mapping[str, str]

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Raises ValueError where it isn't what our launcher sends."""
        match raw:
            case {"argv": [*argv], "cwd": str(cwd), "environment": dict(environment)}:
                if argv and all(isinstance(text, str) for text in (*argv, *environment, *environment.values())):
                    return cls(argv=argv, cwd=cwd, environment=environment)
            case _:
                pass
        raise ValueError("not a request of the launcher")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Ray's `default_worker.py`, compiled once."""

    path: str
    code: types.CodeType

    @classmethod
    def read(cls, path: str) -> Self:
        return cls(path=path, code=compile(pathlib.Path(path).read_bytes(), path, "exec"))


def become(script: Script, request: Request, descriptors: Sequence[int], signals: Mapping[int, object]) -> None:
    """Runs in the child, and returns when the worker ends. `descriptors` are 0, 1, 2 of the worker, and the go pipe."""
    os.setpgid(0, 0)  # Ray kills the group of each worker that ends: it must be the worker's alone
    _take(descriptors)
    if os.read(_GO, 1) != b"g":
        os._exit(0)  # the launcher has gone, or starts this worker the ordinary way
    os.close(_GO)
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.environment)
    tensorflow_import.prepare_environment()  # it changed the template's environment when it was imported there
    for number, handler in signals.items():
        signal.signal(number, handler)  # type: ignore[arg-type]
    # Else all workers draw the same numbers; Python seeds its own generator after a fork. NumPy is not imported above:
    # its libraries start threads unless the environment says otherwise (preload.py).
    importlib.import_module("numpy").random.seed()
    sys.argv = [*request.argv]
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=script.path, __builtins__=__builtins__)
    sys.modules["__main__"] = main
    gc.enable()
    exec(script.code, main.__dict__)  # noqa: S102 - as the interpreter runs a script


_GO = 3


def _take(descriptors: Sequence[int]) -> None:
    """Make the descriptors 0, 1, 2 and 3, and close all others: the template's and the other workers'."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number, inheritable=number != _GO)
    os.closerange(_GO + 1, os.sysconf("SC_OPEN_MAX"))
