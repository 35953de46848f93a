"""Repositories of a hub, by the URLs that Hugging Face and its mirrors have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from tests.support import object_servers
from tests.support.http_thread import HttpThread

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache, Fetched
from fairlead_runtime.model.fetching.access import Access

BOUNDS = Bounds(bytes_max=1_000_000, entries_max=20, idle_s=5, total_s=60)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    ".gitattributes": b"",
    "README.md": b"words",
    "digits.keras": b"a file",
    "saved/saved_model.pb": b"graph",
    "saved/variables/a b": b"numbers",
}


class Hub:
    """One repository, private, whose large files are at another server as those of the hub are."""

    def __init__(self) -> None:
        self.names: list[object] = [*FILES]
        self.store = ""
        self.authorizations: dict[str, str | None] = {}

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/mirror/api/models/org/digits/revision/v1", self._describe)
        application.router.add_get("/mirror/org/digits/resolve/{commit}/{path:.*}", self._resolve)
        application.router.add_get("/store/{path:.*}", self._give)
        return application

    async def _describe(self, request: web.Request) -> web.Response:
        self.authorizations["api"] = request.headers.get("authorization")
        return web.json_response({"sha": COMMIT, "siblings": [{"rfilename": name} for name in self.names]})

    async def _resolve(self, request: web.Request) -> web.Response:
        self.authorizations["resolve"] = request.headers.get("authorization")
        path = request.match_info["path"]
        if request.match_info["commit"] != COMMIT or path not in FILES:
            return web.Response(status=404)
        if path.startswith("saved/"):
            raise web.HTTPFound(f"{self.store}/store/{path}?signature=1")
        return web.Response(body=FILES[path])

    async def _give(self, request: web.Request) -> web.Response:
        self.authorizations["store"] = request.headers.get("authorization")
        return web.Response(body=FILES[request.match_info["path"]])


@contextmanager
def serving() -> Iterator[tuple[Hub, str]]:
    hub = Hub()
    front, store = HttpThread(hub.application), HttpThread(hub.application)
    try:
        front.start()
        store.start()
        hub.store = store.url
        yield hub, f"{front.url}/mirror/"
    finally:
        front.stop()
        store.stop()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Hub, Access]]:
    object_servers.write_secret(tmp_path / "secrets", "hub", {"token": "abc"})
    with serving() as (served, url):
        yield served, object_servers.access(url, tmp_path / "secrets", "hub")


def fetch(uri: str, access: Access, tmp_path: Path) -> Fetched:
    return source.fetch(uri, None, Cache(tmp_path / "cache", bytes_max=10**9), BOUNDS, access=access)


def files_of(found: Fetched) -> dict[str, bytes]:
    return {
        path.relative_to(found.path).as_posix(): path.read_bytes() for path in found.path.rglob("*") if path.is_file()
    }


def test_a_repository_a_folder_of_it_and_a_file_are_read(hub: tuple[Hub, Access], tmp_path: Path) -> None:
    _, access = hub
    assert files_of(fetch("hf://org/digits@v1", access, tmp_path)) == FILES
    assert files_of(fetch("hf://org/digits@v1/saved", access, tmp_path)) == {
        "saved_model.pb": b"graph",
        "variables/a b": b"numbers",
    }
    assert fetch("hf://org/digits@v1/digits.keras", access, tmp_path).path.read_bytes() == b"a file"


def test_the_token_goes_to_the_hub_and_not_to_the_store_that_it_redirects_to(
    hub: tuple[Hub, Access], tmp_path: Path
) -> None:
    served, access = hub
    fetch("hf://org/digits@v1", access, tmp_path)
    assert served.authorizations == {"api": "Bearer abc", "resolve": "Bearer abc", "store": None}


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("hf://org/digits@v2", LoadReason.MODEL_NOT_FOUND),
        ("hf://org/digits@v1/absent", LoadReason.MODEL_NOT_FOUND),
        ("hf://org/digits@v1/sav", LoadReason.MODEL_NOT_FOUND),
        ("hf://org/digits", LoadReason.MODEL_NOT_FOUND),
    ],
)
def test_what_is_not_there_is_not_found(hub: tuple[Hub, Access], tmp_path: Path, uri: str, reason: LoadReason) -> None:
    with pytest.raises(LoadError) as raised:
        fetch(uri, hub[1], tmp_path)
    assert raised.value.reason is reason


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["../out"], LoadReason.UNSAFE_MODEL),
        (["/etc/passwd"], LoadReason.UNSAFE_MODEL),
        (["a", "a"], LoadReason.UNSAFE_MODEL),
        ([f"f{number}" for number in range(21)], LoadReason.MODEL_TOO_LARGE),
        ([7], LoadReason.FETCH_FAILED),
        (["\ud800"], LoadReason.UNSAFE_MODEL),
        (["n" * 300], LoadReason.UNSAFE_MODEL),
    ],
)
def test_a_hostile_listing_is_refused(
    hub: tuple[Hub, Access], tmp_path: Path, names: list[object], reason: LoadReason
) -> None:
    served, access = hub
    served.names = names
    with pytest.raises(LoadError) as raised:
        fetch("hf://org/digits@v1", access, tmp_path)
    assert raised.value.reason is reason
    assert "resolve" not in served.authorizations


def test_files_that_are_too_large_together_are_refused_while_they_come(hub: tuple[Hub, Access], tmp_path: Path) -> None:
    small = dataclasses.replace(BOUNDS, bytes_max=10)
    kept = Cache(tmp_path / "cache", bytes_max=10**9)
    with pytest.raises(LoadError) as raised:
        source.fetch("hf://org/digits@v1", None, kept, small, access=hub[1])
    assert raised.value.reason is LoadReason.MODEL_TOO_LARGE


def test_without_an_endpoint_the_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"spec\.model\.endpoint is missing"):
        fetch("hf://org/digits@v1", Access(), tmp_path)
