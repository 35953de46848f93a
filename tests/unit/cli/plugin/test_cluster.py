"""What the plugin sends to an API server, and what it makes of the answers."""

from __future__ import annotations

import datetime
import json
import pathlib
import socket
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from tests.support.http_thread import HttpThread

from fairlead_cli.plugin import cluster, errors

PARIS = datetime.timezone(datetime.timedelta(hours=1))
MODEL = "/apis/fairlead.dev/v1alpha1/namespaces/models/modeldeployments/digits"


class Server:
    """Answers every call with ``status`` and ``body``; keeps what it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.body: dict[str, Any] = {}
        self.calls: list[tuple[str, str, str, Any]] = []

    def application(self) -> web.Application:
        made = web.Application()
        made.router.add_route("*", "/{path:.*}", lambda request: self._answer(request))
        return made

    async def _answer(self, request: web.Request) -> web.Response:
        sent = await request.text()
        kind = request.headers.get("content-type", "")
        self.calls.append((request.method, request.path_qs, kind, json.loads(sent) if sent else None))
        return web.json_response(self.body, status=self.status)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def found(server: Server, tmp_path: pathlib.Path) -> Iterator[cluster.KubernetesCluster]:
    thread = HttpThread(server.application)
    thread.start()
    made = connected(tmp_path, thread.url)
    yield made
    made.close()
    thread.stop()


def connected(folder: pathlib.Path, url: str) -> cluster.KubernetesCluster:
    kubeconfig = folder / "kubeconfig"
    here = {"cluster": "c", "user": "u", "namespace": "models"}
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "here", "context": here}],
                "current-context": "here",
            }
        )
    )
    return cluster.KubernetesCluster(namespace=None, context=None, kubeconfig=kubeconfig)


def test_the_namespace_is_that_of_the_context(found: cluster.KubernetesCluster) -> None:
    assert found.namespace == "models"


def test_a_request_is_a_merge_patch_of_the_status_of_the_version_that_was_read(
    server: Server, found: cluster.KubernetesCluster
) -> None:
    found.ask("digits", {"id": "a", "verb": "Promote", "step": 1}, resource_version="7")
    ((method, path, kind, body),) = server.calls
    assert (method, path, kind) == ("PATCH", f"{MODEL}/status", "application/merge-patch+json")
    assert body == {
        "metadata": {"resourceVersion": "7"},
        "status": {"request": {"id": "a", "verb": "Promote", "step": 1, "number": None}},
    }


def test_a_restart_is_a_merge_patch_of_the_spec_of_the_version_that_was_read(
    server: Server, found: cluster.KubernetesCluster
) -> None:
    found.restart("digits", datetime.datetime(2026, 1, 2, 4, tzinfo=PARIS), resource_version="7")
    ((method, path, kind, body),) = server.calls
    assert (method, path, kind) == ("PATCH", MODEL, "application/merge-patch+json")
    assert body == {
        "metadata": {"resourceVersion": "7"},
        "spec": {"serving": {"restartedAt": "2026-01-02T03:00:00Z"}},
    }


def test_revisions_are_selected_by_the_label_of_the_model(server: Server, found: cluster.KubernetesCluster) -> None:
    kept = {"metadata": {"name": "digits-0123456789"}, "revision": 1, "data": {"template": {"model": {"uri": "u"}}}}
    server.body = {"kind": "ControllerRevisionList", "apiVersion": "apps/v1", "metadata": {}, "items": [kept]}
    (listed,) = found.revisions("digits")
    assert (listed["revision"], listed["data"]) == (1, {"template": {"model": {"uri": "u"}}})
    assert urllib.parse.unquote(server.calls[0][1]).endswith("?labelSelector=fairlead.dev/model=digits")


def test_a_missing_model_is_none(server: Server, found: cluster.KubernetesCluster) -> None:
    server.status, server.body = 404, {"details": {"name": "digits"}}
    assert found.model("digits") is None


def test_a_cluster_without_the_crd_is_called_so(server: Server, found: cluster.KubernetesCluster) -> None:
    server.status, server.body = 404, {"message": "404 page not found"}
    with pytest.raises(errors.PluginError, match="Fairlead is not installed there"):
        found.model("digits")


def test_a_read_needs_the_role_that_reads(server: Server, found: cluster.KubernetesCluster) -> None:
    server.status = 403
    with pytest.raises(errors.PluginError, match="needs the role fairlead-view"):
        found.model("digits")


@pytest.mark.parametrize(
    "content", [b"a: [", b"hello", b"\xff\xfe\x00", b"clusters: 1", b"{current-context: c, contexts: [x]}", b"[]"]
)
def test_a_file_that_is_no_kubeconfig_is_one_line(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    with pytest.raises(errors.PluginError, match="The kubeconfig") as caught:
        cluster.KubernetesCluster(namespace=None, context=None, kubeconfig=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (401, errors.PluginError, "does not accept the credentials"),
        (
            403,
            errors.PluginError,
            "Not allowed to send the request to ModelDeployment digits .* role fairlead-rollouts",
        ),
        (404, errors.PluginError, "There is no ModelDeployment digits in namespace models"),
        (409, errors.ConflictError, "The object changed at the same time"),
        (422, errors.PluginError, "must not be replaced while an Abort is pending"),
    ],
)
def test_a_refusal_of_the_api_server_is_one_line(
    server: Server, found: cluster.KubernetesCluster, status: int, error: type[errors.PluginError], expected: str
) -> None:
    server.status, server.body = (
        status,
        {"details": {"name": "digits"}, "message": "status.request: must not be replaced while an Abort is pending"},
    )
    with pytest.raises(error, match=expected) as caught:
        found.ask("digits", {"id": "a"}, resource_version="7")
    assert "\n" not in str(caught.value)


def test_an_unreachable_api_server_is_one_line(tmp_path: pathlib.Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, not listening: refused
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        made = connected(tmp_path, url)
        with pytest.raises(errors.PluginError) as caught:
            made.model("digits")
        made.close()
    text = str(caught.value)
    assert text.startswith(f"The API server {url} can't be reached: ")
    assert "Connection refused. Check that the cluster runs, and the server's address in the kubeconfig" in text


def test_another_server_than_kubernetes_is_called_so(
    server: Server, found: cluster.KubernetesCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def welcome(_: Server, request: web.Request) -> web.Response:
        return web.Response(text="<html>welcome</html>")

    monkeypatch.setattr(Server, "_answer", welcome)
    with pytest.raises(errors.PluginError, match=r"http://127.0.0.1:\d+ is no Kubernetes API"):
        found.model("digits")
