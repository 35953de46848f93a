"""Artifacts of a registry: what they become, who gets which credentials, and what a hostile registry gets."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support import object_servers, raw_server
from tests.support.http_thread import HttpThread
from tests.support.raw_server import Connection

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache, Fetched
from fairlead_runtime.model.fetching.access import Access

BOUNDS = Bounds(bytes_max=1_000_000, entries_max=20, idle_s=60, total_s=120)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TITLE = "org.opencontainers.image.title"
BASIC = "Basic " + base64.b64encode(b"me:word").decode()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry:
    """A registry with one repository. With `realm` it takes tokens alone, which that gives for a user's password."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.realm: str | None = None
        self.tokens = iter(f"token{number}" for number in range(100))
        self.taken = {"token0"}
        self.seen: list[tuple[str, str | None]] = []
        self.scopes: list[str] = []
        self.renews = False
        self.store_wants = ""
        self.token_leads = ""
        self.wants: tuple[str, ...] = ()

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/v2/models/digits/manifests/{reference}", self._manifest)
        application.router.add_get("/v2/models/digits/blobs/{digest}", self._blob)
        application.router.add_get("/token", self._token)
        application.router.add_get("/store/{digest}", self._store)
        return application

    def put(self, *files: tuple[str | None, bytes], **more: Any) -> str:
        """Stores files by title as layers of a manifest; gives its digest."""
        layers = []
        for title, content in files:
            self.blobs[digest_of(content)] = content
            annotations = {} if title is None else {TITLE: title}
            layers.append({"digest": digest_of(content), "size": len(content), "annotations": annotations})
        return self.put_manifest({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers, **more})

    def put_manifest(self, manifest: object, tag: str = "v1") -> str:
        raw = json.dumps(manifest).encode()
        self.manifests[tag] = self.manifests[digest_of(raw)] = raw
        return digest_of(raw)

    def _refuse(self, request: web.Request) -> web.Response | None:
        authorization = request.headers.get("authorization")
        self.seen.append((request.path.split("/")[-2], authorization))
        if self.realm is None or authorization in {f"Bearer {each}" for each in self.taken}:
            return None
        challenge = f'Bearer realm="{self.realm}",service="us",scope="repository:models/digits:pull"'
        answer = web.Response(status=401)
        for each in self.wants or (challenge,):
            answer.headers.add("www-authenticate", each.replace("REALM", self.realm))
        return answer

    async def _manifest(self, request: web.Request) -> web.Response:
        raw = self.manifests.get(request.match_info["reference"])
        refused = self._refuse(request)
        if refused is None and self.renews:
            self.taken = {"token1"}
        return refused or (web.Response(status=404) if raw is None else web.Response(body=raw, content_type=MANIFEST))

    async def _blob(self, request: web.Request) -> web.Response:
        refused = self._refuse(request)
        if refused is not None:
            return refused
        raise web.HTTPTemporaryRedirect(f"http://localhost:{request.url.port}/store/{request.match_info['digest']}")

    async def _store(self, request: web.Request) -> web.Response:
        self.seen.append(("store", request.headers.get("authorization")))
        if self.store_wants:
            return web.Response(status=401, headers={"www-authenticate": self.store_wants})
        return web.Response(body=self.blobs[request.match_info["digest"]])

    async def _token(self, request: web.Request) -> web.Response:
        self.seen.append(("token", request.headers.get("authorization")))
        self.scopes.append(request.query_string)
        if self.token_leads:
            raise web.HTTPFound(self.token_leads)
        return web.json_response({"token": next(self.tokens)})


@contextmanager
def serving() -> Iterator[tuple[Registry, str]]:
    registry = Registry()
    thread = HttpThread(registry.application)
    thread.start()
    try:
        yield registry, thread.url
    finally:
        thread.stop()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[Registry, Access]]:
    object_servers.write_secret(tmp_path / "secrets", "registry", {"username": "me", "password": "word"})
    with serving() as (served, url):
        access = object_servers.access(url, tmp_path / "secrets", "registry")
        yield served, dataclasses.replace(access, secret_hosts={"registry": ("127.0.0.1",)})


def fetch(access: Access, tmp_path: Path, uri: str = "oci://registry.example.org/models/digits:v1") -> Fetched:
    return source.fetch(uri, None, Cache(tmp_path / "cache", bytes_max=10**9), BOUNDS, access=access)


def refusal(access: Access, tmp_path: Path, uri: str = "oci://registry.example.org/models/digits:v1") -> LoadError:
    with pytest.raises(LoadError) as raised:
        fetch(access, tmp_path, uri)
    return raised.value


def test_one_layer_is_a_file_and_several_are_a_folder(registry: tuple[Registry, Access], tmp_path: Path) -> None:
    served, access = registry
    found = served.put(("digits.keras", b"a file"))
    assert fetch(access, tmp_path).path.read_bytes() == b"a file"
    served.put(("saved_model.pb", b"graph"), ("variables/index", b"index"))
    folder = fetch(access, tmp_path).path
    assert (folder / "variables" / "index").read_bytes() == b"index"
    assert fetch(access, tmp_path, f"oci://r/models/digits@{found}").path.read_bytes() == b"a file"


def test_an_index_of_one_manifest_is_followed(registry: tuple[Registry, Access], tmp_path: Path) -> None:
    served, access = registry
    one = {"digest": served.put(("a", b"one")), "size": 1}
    served.put_manifest({"schemaVersion": 2, "manifests": [one]})
    assert fetch(access, tmp_path).path.read_bytes() == b"one"
    served.put_manifest({"schemaVersion": 2, "manifests": [one, one]})
    assert refusal(access, tmp_path).reason is LoadReason.FORMAT_MISMATCH


def test_a_token_is_got_with_the_secret_and_sent_to_the_registry_alone(
    registry: tuple[Registry, Access], tmp_path: Path
) -> None:
    served, access = registry
    served.put(("a", b"one"), ("b", b"two"))
    served.realm = f"{access.endpoint}/token"
    fetch(access, tmp_path)
    assert served.seen[:3] == [("manifests", None), ("token", BASIC), ("manifests", "Bearer token0")]
    assert set(served.seen[3:]) == {("blobs", "Bearer token0"), ("store", None)}
    assert served.scopes == ["service=us&scope=repository:models/digits:pull"]


def test_a_token_that_is_over_is_renewed(registry: tuple[Registry, Access], tmp_path: Path) -> None:
    served, access = registry
    served.put(("a", b"one"))
    served.realm = f"{access.endpoint}/token"
    served.renews = True
    assert fetch(access, tmp_path).path.read_bytes() == b"one"
    assert [where for where, _ in served.seen].count("token") == 2


def test_a_refused_token_is_asked_for_once_more_and_its_error_can_go_to_another_process(
    registry: tuple[Registry, Access], tmp_path: Path
) -> None:
    """Ray hands the operator what another process unpickled."""
    served, access = registry
    served.put(("a", b"one"))
    served.realm, served.taken = f"{access.endpoint}/token", set()
    error = refusal(access, tmp_path)
    assert "answered 401 Unauthorized" in error.sentence
    assert [where for where, _ in served.seen] == ["manifests", "token", "manifests"]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_without_a_secret_a_token_is_asked_for_without_one(registry: tuple[Registry, Access], tmp_path: Path) -> None:
    served, access = registry
    served.put(("a", b"one"))
    served.realm = f"{access.endpoint}/token"
    fetch(dataclasses.replace(access, secret=None), tmp_path)
    assert served.seen[1] == ("token", None)


def test_the_secret_goes_to_no_realm_and_for_no_registry_that_is_not_listed(
    registry: tuple[Registry, Access], tmp_path: Path
) -> None:
    """Else a registry could have the token of another one, by its realm."""
    served, access = registry
    served.put(("a", b"one"))
    served.realm = str(access.endpoint).replace("127.0.0.1", "localhost") + "/token"
    error = refusal(access, tmp_path)
    assert (error.reason, "to host localhost" in error.sentence) == (LoadReason.MODEL_FORBIDDEN, True)
    there = dataclasses.replace(access, secret_hosts={"registry": ("localhost",)})
    error = refusal(there, tmp_path)
    assert (error.reason, "to host 127.0.0.1" in error.sentence) == (LoadReason.MODEL_FORBIDDEN, True)
    assert all(authorization is None for _, authorization in served.seen)


def test_a_host_that_the_registry_redirects_to_gets_no_token(registry: tuple[Registry, Access], tmp_path: Path) -> None:
    served, access = registry
    served.put(("a", b"one"))
    served.store_wants = f'Bearer realm="{access.endpoint}/token",service="another"'
    error = refusal(access, tmp_path)
    assert error.reason is LoadReason.MODEL_FORBIDDEN
    assert "token" not in [where for where, _ in served.seen]
    assert all(authorization in (None, BASIC) for _, authorization in served.seen)
    assert ("store", BASIC) not in served.seen


@pytest.mark.parametrize(
    "realm", ["", "ftp://h/token", "http://[", "http://169.254.169.254/token", "file:///etc/passwd", "http://10.0.0.1/"]
)
def test_a_realm_that_is_no_address_or_none_that_is_asked_is_refused(
    registry: tuple[Registry, Access], tmp_path: Path, realm: str
) -> None:
    served, access = registry
    served.put(("a", b"one"))
    served.realm = realm
    refusal(dataclasses.replace(access, secret=None), tmp_path)
    assert not [where for where, _ in served.seen if where == "token"]


def elsewhere(access: Access) -> str:
    """The same server by its other name."""
    return str(access.endpoint).replace("127.0.0.1", "localhost")


@pytest.mark.parametrize(
    "realm",
    [
        "{elsewhere}/token",
        "{elsewhere}/token?aud=x#",
        "{own}/token#",
        "{own}/token?aud=x#",
        "{user}/token",
        "{elsewhere_tls}/token",
    ],
)
def test_without_a_secret_no_token_of_another_server_is_brought_to_the_registry(
    registry: tuple[Registry, Access], tmp_path: Path, realm: str
) -> None:
    """The author of a model chooses the registry, which must not choose what the replica asks for it."""
    served, access = registry
    served.put(("a", b"one"))
    served.realm = realm.format(
        own=access.endpoint,
        user=str(access.endpoint).replace("//", "//me:word@"),
        elsewhere=elsewhere(access),
        elsewhere_tls=elsewhere(access).replace("http:", "https:"),
    )
    error = refusal(dataclasses.replace(access, secret=None), tmp_path)
    assert error.reason in (LoadReason.MODEL_FORBIDDEN, LoadReason.FETCH_FAILED)
    assert [where for where, _ in served.seen] == ["manifests"], error.sentence


def test_the_registrys_own_token_server_leads_to_no_other(registry: tuple[Registry, Access], tmp_path: Path) -> None:
    served, access = registry
    served.put(("a", b"one"))
    served.realm, served.token_leads = f"{access.endpoint}/token", f"{elsewhere(access)}/token"
    error = refusal(dataclasses.replace(access, secret=None), tmp_path)
    assert error.reason is LoadReason.MODEL_FORBIDDEN
    assert [where for where, _ in served.seen] == ["manifests", "token"]


def test_a_realm_keeps_its_own_query(registry: tuple[Registry, Access], tmp_path: Path) -> None:
    served, access = registry
    served.put(("a", b"one"))
    served.realm = f"{access.endpoint}/token?account=a%20b&x"
    fetch(dataclasses.replace(access, secret=None), tmp_path)
    assert served.scopes == ["account=a b&x&service=us&scope=repository:models/digits:pull"]


BEARER = 'Bearer realm="REALM",service="us",scope="repository:models/digits:pull"'


@pytest.mark.parametrize(
    "wants",
    [
        ('Basic realm="us"', BEARER),
        (f'Basic realm="us", {BEARER}',),
        ("Negotiate", f"Negotiate YWJj==, Basic realm=us, {BEARER}"),
        (BEARER.replace("realm", "REALM".title()).replace("service", "SERVICE"), 'Basic realm="a, Bearer realm=b"'),
        ('Bearer error="invalid_token"', BEARER),
    ],
)
def test_of_several_challenges_the_one_for_a_token_is_answered(
    registry: tuple[Registry, Access], tmp_path: Path, wants: tuple[str, ...]
) -> None:
    """They come in several headers or in one. Source: RFC 9110, 11.6.1"""
    served, access = registry
    served.put(("a", b"one"))
    served.realm, served.wants = f"{access.endpoint}/token", wants
    fetch(access, tmp_path)
    assert served.seen[:3] == [("manifests", None), ("token", BASIC), ("manifests", "Bearer token0")]


def test_what_came_before_a_layers_token_was_over_counts_once(tmp_path: Path) -> None:
    content = b"m" * (BOUNDS.bytes_max * 2 // 3)
    manifest = {"layers": [{"digest": digest_of(content), "size": len(content)}]}
    tokens = itertools.count(1)
    blobs = itertools.count()

    def answer(connection: Connection) -> None:
        if connection.target.startswith("/token"):
            return send(connection, json.dumps({"token": f"token{next(tokens)}"}).encode())
        if f"Bearer token{2 if '/blobs/' in connection.target and next(blobs) else 1}".encode() in connection.request:
            body = content if "/blobs/" in connection.target else json.dumps(manifest).encode()
            sent = body if b"token2" in connection.request or "/blobs/" not in connection.target else body[:-100]
            return send(connection, sent, len(body))
        host = connection.request.partition(b"Host: ")[2].partition(b"\r\n")[0].decode()
        wants = f'WWW-Authenticate: Bearer realm="http://{host}/token"'
        connection.send(f"HTTP/1.1 401 Unauthorized\r\n{wants}\r\nContent-Length: 0\r\n\r\n".encode())
        return None

    def send(connection: Connection, body: bytes, length: int | None = None) -> None:
        head = f'HTTP/1.1 200 OK\r\nContent-Length: {length or len(body)}\r\nETag: "1"\r\n\r\n'
        connection.send(head.encode() + body)

    with raw_server.serving(answer) as server:
        access = Access(endpoint=server.url, outbound=object_servers.LOOPBACK)
        assert fetch(access, tmp_path).path.read_bytes() == content
    assert next(tokens) == 3


@pytest.mark.parametrize("where", ["blob", "manifest"])
def test_other_content_than_the_digest_names_is_refused(
    registry: tuple[Registry, Access], tmp_path: Path, where: str
) -> None:
    served, access = registry
    found = served.put(("a", b"one"))
    uri = f"oci://r/models/digits@{found}"
    if where == "blob":
        served.blobs[digest_of(b"one")] = b"two"
    else:
        served.manifests[found] += b" "
    error = refusal(access, tmp_path, uri)
    assert (error.reason, "sends other content" in error.sentence) == (LoadReason.DIGEST_MISMATCH, True)


def layer(**changes: object) -> dict[str, object]:
    return {"layers": [{"digest": digest_of(b"one"), "size": 3, **changes}] * 2}


MANIFESTS: dict[str, tuple[object, LoadReason]] = {
    "no object": ([], LoadReason.FETCH_FAILED),
    "no layers": ({}, LoadReason.FETCH_FAILED),
    "an empty list": ({"layers": []}, LoadReason.MODEL_NOT_FOUND),
    "many": ({"layers": [{}] * 21}, LoadReason.MODEL_TOO_LARGE),
    "a layer that is none": ({"layers": [7]}, LoadReason.FETCH_FAILED),
    "a digest that is a path": (layer(digest="sha256:../../x"), LoadReason.FETCH_FAILED),
    "another hash": (layer(digest="md5:" + "0" * 32), LoadReason.FETCH_FAILED),
    "a size that is a text": (layer(size="3"), LoadReason.FETCH_FAILED),
    "a size below nothing": (layer(size=-1), LoadReason.FETCH_FAILED),
    "a large size": (layer(size=10**12, annotations={TITLE: "a"}), LoadReason.MODEL_TOO_LARGE),
    "annotations that are a list": (layer(annotations=[1]), LoadReason.FETCH_FAILED),
    "a title that is none": (layer(annotations={TITLE: 7}), LoadReason.FETCH_FAILED),
    "a title that leads out": (layer(annotations={TITLE: "../a"}), LoadReason.UNSAFE_MODEL),
    "a title twice": (layer(annotations={TITLE: "a"}), LoadReason.UNSAFE_MODEL),
    "half a pair": (layer(annotations={TITLE: "\ud800"}), LoadReason.UNSAFE_MODEL),
    "an image": (layer(), LoadReason.FORMAT_MISMATCH),
    "an index of nothing": ({"manifests": []}, LoadReason.FORMAT_MISMATCH),
    "an index of what is none": ({"manifests": [7]}, LoadReason.FETCH_FAILED),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_that_is_none_or_hostile_is_refused(
    registry: tuple[Registry, Access], tmp_path: Path, what: str
) -> None:
    served, access = registry
    manifest, reason = MANIFESTS[what]
    served.put_manifest(manifest)
    assert refusal(access, tmp_path).reason is reason
    assert not [where for where, _ in served.seen if where == "blobs"]


@pytest.mark.parametrize(
    "uri",
    ["oci://host", "oci://host/a", "oci://host/A:v1", "oci://host/a@sha256:1", "oci://host/a:v1/b", "oci:///a:v1"],
)
def test_a_uri_of_another_form_is_refused(tmp_path: Path, uri: str) -> None:
    error = refusal(Access(), tmp_path, uri)
    assert (error.reason, "must look like" in error.sentence) == (LoadReason.MODEL_NOT_FOUND, True)


def test_what_the_registry_does_not_have_is_not_found(registry: tuple[Registry, Access], tmp_path: Path) -> None:
    assert refusal(registry[1], tmp_path).reason is LoadReason.MODEL_NOT_FOUND
