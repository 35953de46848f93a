"""What the template imports.

Nothing here may start a thread, open a connection or compute: that does not survive a fork. So never TensorFlow's eager
context, a list of its devices or an operation, never a gRPC channel or `ray.init`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from fairlead_runtime.model import tensorflow_import

# What `default_worker.py` imports, the Serve controller, the task that builds an application, a replica, and ours.
_MODULES = (
    "ray._private.workers",
    "ray._private.node",
    "ray._private.async_compat",
    "ray._private.parameter",
    "ray._private.ray_logging",
    "ray._private.runtime_env.setup_hook",
    "ray.actor",
    "ray.serve._private.api",
    "ray.serve._private.application_state",
    "ray.serve._private.build_app",
    "ray.serve._private.controller",
    "ray.serve._private.replica",
    "numpy.random",
    "uvloop",
    "fairlead_runtime.app",
)
_OURS = ("fairlead_runtime", "fairlead_spans")

Stamps = Mapping[pathlib.Path, tuple[int, int]]


def import_everything() -> None:
    """Takes some 2 s of processor time. The environment is as before when it returns."""
    before = dict(os.environ)
    os.environ["OMP_NUM_THREADS"] = "1"  # else OpenBLAS starts its threads when it is loaded
    with _class_ids_from_the_system():
        for name in _MODULES:
            importlib.import_module(name)
    tensorflow_import.import_for_saved_models()
    os.environ.clear()
    os.environ.update(before)


class _SystemIds:
    """Stands in for `ActorClassID`."""

    @staticmethod
    def from_random() -> object:
        ids = importlib.import_module("ray._raylet").ActorClassID
        return ids(os.urandom(ids.size()))


@contextlib.contextmanager
def _class_ids_from_the_system() -> Iterator[None]:
    """Keeps the random numbers of Ray's library unused, because each fork would go on with the same ones.

    Its generator is seeded at its first use. At import that is `ActorClassID.from_random`, for each class that is made
    an actor. (Such a class has the same id in all forks; it is the same class.)
    """
    actor: Any = importlib.import_module("ray.actor")
    original, actor.ActorClassID = actor.ActorClassID, _SystemIds
    try:
        yield
    finally:
        actor.ActorClassID = original


def draws_repeat() -> bool:
    """Whether two forks of this process would draw the same ids from Ray's library."""
    return _draw_in_a_fork() == _draw_in_a_fork()


def _draw_in_a_fork() -> bytes:
    ids = importlib.import_module("ray._raylet").UniqueID
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, ids.from_random().binary())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        drawn = file.read()
    os.waitpid(child, 0)
    return drawn


def threads() -> int:
    """How many threads this process has; a fork keeps only the one that calls it."""
    return len(os.listdir("/proc/self/task"))


def stamps() -> Stamps:
    """Size and time of change of each file of ours that was imported."""
    ours = (module for name, module in sys.modules.items() if name.partition(".")[0] in _OURS)
    files = [pathlib.Path(module.__file__) for module in ours if module.__file__ is not None]
    return {path: _stamp(path) for path in files}


def changed(before: Stamps) -> pathlib.Path | None:
    """A file that is no longer what was imported: a replica started now would run old code."""
    return next((path for path, stamp in before.items() if _stamp(path) != stamp), None)


def _stamp(path: pathlib.Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
