"""Files of a model that are got one by one over HTTP, each by its own URL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import http_fetch
from fairlead_runtime.model.fetching import tree
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.allowance import Allowance


def entry(name: str, url: str, access: Access, *, size_bytes: int | None = None) -> tree.Entry:
    """The file at the URL, under a name of the model's folder."""

    def tasks(target: Path, transfer: tree.Transfer) -> Iterator[tree.Task]:
        listener = http_fetch.Listener(count=transfer.count)
        yield lambda: http_fetch.download(url, target, transfer.allowance, access, listener)

    return tree.Entry(name=name, size_bytes=size_bytes, tasks=tasks)


def download(entries: Iterable[tree.Entry], into: Path, allowance: Allowance, *, expect: Callable[[int], None]) -> None:
    """Writes the entries as the new folder `into`, once all their names are found to be in order."""
    found = tree.check(entries, allowance.bounds)
    expect(tree.sum_sizes(found))
    tree.download(found, into, allowance)


def require_endpoint(access: Access, what: str) -> str:
    """The base URL that the model names, without a slash at its end; raises LoadError without one."""
    if not access.endpoint:
        raise LoadError(LoadReason.MODEL_NOT_FOUND, f"spec.model.endpoint is missing: it must be the URL of {what}")
    return access.endpoint.rstrip("/")
