"""What the test files of one folder share: made for the first file that asks, ended when the run leaves the folder.

A fixture of the session's scope ends with the session. Until then its processes, such as a whole local cluster, take
processor time from the folders that follow.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


class Shared:
    """The values that are open in one folder, and the errors of those that did not open, by name."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}

    def value(self, folder: pytest.Collector, name: str, make: Callable[[], AbstractContextManager[T]]) -> T:
        if name in self._errors:
            raise self._errors[name]
        if name not in self._values:
            self._values[name] = self._opened(folder, name, make)
        found: T = self._values[name]
        return found

    def _opened(self, folder: pytest.Collector, name: str, make: Callable[[], AbstractContextManager[T]]) -> T:
        manager = make()
        try:
            value = manager.__enter__()
        except Exception as error:
            self._errors[name] = error
            raise

        def close() -> None:
            self._values.pop(name)
            manager.__exit__(None, None, None)

        folder.addfinalizer(close)
        return value


_SHARED = pytest.StashKey[Shared]()


def shared(request: pytest.FixtureRequest, make: Callable[[], AbstractContextManager[T]]) -> T:
    """The value of ``make``'s block, for a fixture of the module's scope that all files of the folder use.

    What could not be opened is not tried again for the next file: its error is raised again.
    """
    module: Any = request.node
    assert isinstance(module, pytest.Module), "a fixture of the module's scope"
    folder = module.parent
    assert isinstance(folder, pytest.Collector)
    name = request.fixturename
    assert name is not None
    return folder.stash.setdefault(_SHARED, Shared()).value(folder, name, make)
