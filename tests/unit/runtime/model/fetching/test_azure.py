"""Containers of Azure Blob Storage, from a stand-in that checks signatures as the service does.

No server of the service's protocol is in a package registry of Python. Source: Azure, "Authorize with Shared Key".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

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
ACCOUNT, KEY = "account", base64.b64encode(b"a key that only tests use").decode()
FILES = {"digits/saved_model.pb": b"graph", "digits/variables/index": b"index", "one.keras": b"a file"}
HEADERS = ("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date")
CONDITIONS = ("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range")


def signature(request: web.Request) -> str:
    """What the service computes of a request."""
    plain = [request.headers.get(name, "") for name in (*HEADERS, *CONDITIONS)]
    plain[2] = "" if plain[2] == "0" else plain[2]
    own = sorted((name.lower(), value) for name, value in request.headers.items() if name.lower().startswith("x-ms-"))
    resource = [f"/{ACCOUNT}{unquote(request.rel_url.raw_path)}"]
    resource += [f"{name}:{value}" for name, value in sorted(request.query.items())]
    text = "\n".join([request.method, *plain, *(f"{name}:{value}" for name, value in own), *resource])
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    return f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"


async def answer(request: web.Request) -> web.Response:
    if request.headers.get("authorization") != signature(request):
        return web.Response(status=403, text="<Error><Code>AuthenticationFailed</Code></Error>")
    if request.query.get("comp") == "list":
        rows = "".join(
            f"<Blob><Name>{name}</Name><Properties><Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified>"
            f"<Etag>1</Etag><Content-Type>application/octet-stream</Content-Type><Content-Length>{len(content)}</Content-Length></Properties></Blob>"
            for name, content in FILES.items()
            if name.startswith(request.query["prefix"])
        )
        text = f"<EnumerationResults><Blobs>{rows}</Blobs><NextMarker/></EnumerationResults>"
        return web.Response(text=text, content_type="application/xml")
    content = FILES.get(request.match_info["path"])
    if content is None:
        return web.Response(status=404)
    if request.headers.get("if-match", '"1"') != '"1"':
        return web.Response(status=412)
    headers = {"etag": '"1"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    if request.method == "GET":
        headers["content-range"] = f"bytes 0-{len(content) - 1}/{len(content)}"
    return web.Response(status=206 if request.method == "GET" else 200, body=content, headers=headers)


def application() -> web.Application:
    made = web.Application()
    made.router.add_route("*", "/account/models", answer)
    made.router.add_route("*", "/account/models/{path:.*}", answer)
    return made


@pytest.fixture
def access(tmp_path: Path) -> Iterator[Access]:
    account = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT}
    object_servers.write_secret(tmp_path / "secrets", "key", {**account, "AZURE_STORAGE_ACCOUNT_KEY": KEY})
    wrong = base64.b64encode(b"wrong").decode()
    object_servers.write_secret(tmp_path / "secrets", "wrong", {**account, "AZURE_STORAGE_ACCOUNT_KEY": wrong})
    object_servers.write_secret(tmp_path / "secrets", "public", account)
    object_servers.write_secret(tmp_path / "secrets", "nobody", {"AZURE_STORAGE_ACCOUNT_KEY": KEY})
    thread = HttpThread(application)
    thread.start()
    yield object_servers.access(f"{thread.url}/account", tmp_path / "secrets", "key")
    thread.stop()


def fetch(uri: str, access: Access, tmp_path: Path) -> Fetched:
    return source.fetch(uri, None, Cache(tmp_path / "cache", bytes_max=10**9), BOUNDS, access=access)


def test_a_prefix_and_a_blob_are_read_with_the_accounts_key(access: Access, tmp_path: Path) -> None:
    folder = fetch("az://models/digits", access, tmp_path).path
    assert (folder / "saved_model.pb").read_bytes() == b"graph"
    assert (folder / "variables/index").read_bytes() == b"index"
    assert fetch("az://models/one.keras", access, tmp_path).path.read_bytes() == b"a file"


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("wrong", "access denied"),
        ("public", "access denied"),
        ("nobody", "the Secret has no key AZURE_STORAGE_ACCOUNT_NAME"),
        (None, "the Secret has no key AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_credentials_that_do_not_fit_are_refused(
    access: Access, tmp_path: Path, secret: str | None, words: str
) -> None:
    other = object_servers.access(access.endpoint or "", tmp_path / "secrets", secret)
    with pytest.raises(LoadError) as raised:
        fetch("az://models/digits", other, tmp_path)
    assert (raised.value.reason, words in raised.value.sentence) == (LoadReason.MODEL_FORBIDDEN, True)
