"""`kubectl fairlead predict` and `logs`: what they send to a gateway and to Ray, and what they print."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import typer.testing
from aiohttp import web
from tests.support.http_thread import HttpThread
from tests.support.plugin_cluster import WorldCluster
from tests.support.virtual_world import VirtualWorld

from fairlead_cli.plugin import cluster, commands

NAME = "digits"
INPUT = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}


class Server:
    """A gateway and Ray's dashboard in one: answers from ``answers`` by path, and keeps what it was sent."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.code = 200
        self.token = "t"
        self.logs = {
            f"serve/replica_default--{NAME}--{revision}_replica_abc.log": "loaded\nready\n",
            "serve/controller_1.log": "not asked for\n",
        }
        self.sent: list[tuple[str, str | None, Any]] = []

    def application(self) -> web.Application:
        made = web.Application()
        made.router.add_get("/v2/models/digits", self._metadata)
        made.router.add_post("/v2/models/digits/infer", self._answer)
        made.router.add_post("/v1/models/digits:predict", self._answer)
        made.router.add_get("/api/v0/nodes", self._nodes)
        made.router.add_get("/api/v0/logs", self._files)
        made.router.add_get("/api/v0/logs/file", self._file)
        return made

    async def _metadata(self, _: web.Request) -> web.Response:
        return web.json_response({"name": NAME, "inputs": [INPUT], "outputs": []})

    async def _answer(self, request: web.Request) -> web.Response:
        self.sent.append((request.path, request.headers.get("x-fairlead-revision"), await request.json()))
        body = {"outputs": []} if self.code == 200 else {"error": "the model raised"}
        return web.json_response(body, status=self.code, headers={"x-fairlead-revision": self.revision})

    def _refused(self, request: web.Request) -> bool:
        return request.headers.get("authorization") != f"Bearer {self.token}"

    async def _nodes(self, request: web.Request) -> web.Response:
        if self._refused(request):
            return web.Response(status=401)
        nodes = [{"node_id": "node-one", "state": "ALIVE"}, {"node_id": "node-two", "state": "DEAD"}]
        return web.json_response({"data": {"result": {"result": nodes}}})

    async def _files(self, request: web.Request) -> web.Response:
        beginning = request.query["glob"].removesuffix("*")
        found = [name for name in self.logs if name.startswith(beginning)]
        return web.json_response({"data": {"result": {"internal": found} if found else {}}})

    async def _file(self, request: web.Request) -> web.Response:
        kept = self.logs[request.query["filename"]].splitlines()[-int(request.query["lines"]) :]
        return web.Response(text="".join(f"{line}\n" for line in kept))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> WorldCluster:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1", "version": "v1"})
    world.settle()
    made = WorldCluster(world)
    monkeypatch.setattr(cluster, "connect", lambda **place: made)
    return made


@pytest.fixture
def server(found: WorldCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server(str(found.world.models[NAME].status["stableRevision"]))
    thread = HttpThread(made.application)
    thread.start()
    monkeypatch.setenv("FAIRLEAD_GATEWAY", thread.url)
    monkeypatch.setenv("FAIRLEAD_RAY", thread.url)
    yield made
    thread.stop()


def run(*arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
    result = typer.testing.CliRunner().invoke(commands.app, list(arguments), input=stdin)
    return result.exit_code, result.stdout, result.stderr


def test_predict_without_a_file_sends_zeros_and_names_the_revision(server: Server) -> None:
    code, output, stderr = run("predict", NAME)
    assert (code, json.loads(output)) == (0, {"outputs": []})
    assert f"answered by revision 1 ({server.revision})" in stderr
    zeros = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}]}
    assert server.sent == [("/v2/models/digits/infer", None, zeros)]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"inputs": [{**INPUT, "shape": [1, 2], "data": [1, 2]}]}, "/v2/models/digits/infer"),
        ({"instances": [[1, 2]]}, "/v1/models/digits:predict"),
        ({"inputs": {"x": [[1, 2]]}}, "/v1/models/digits:predict"),
    ],
)
def test_predict_uses_the_protocol_of_the_request_body(
    server: Server, tmp_path: pathlib.Path, body: dict[str, Any], path: str
) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body))
    assert run("predict", NAME, "-f", str(file), "--revision", "v1")[0] == 0
    assert run("predict", NAME, "-f", "-", stdin=json.dumps(body))[0] == 0
    assert server.sent == [(path, "v1", body), (path, None, body)]


def test_a_failed_prediction_is_one_line_that_names_the_revision(server: Server) -> None:
    server.code = 500
    code, _, output = run("predict", NAME)
    assert (code, output.count("\n")) == (1, 1)
    assert f"revision {server.revision} answered 500" in output
    assert "the model raised" in output


def test_predict_without_a_known_gateway_says_how_to_give_one(
    found: WorldCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAIRLEAD_GATEWAY", raising=False)
    code, _, output = run("predict", NAME)
    assert (code, "--gateway http://HOST:PORT" in output) == (1, True)
    found.world.models[NAME].status["endpoints"] = {"v2": "http://127.0.0.1:9/v2/models/digits"}
    code, _, output = run("predict", NAME)
    assert (code, "http://127.0.0.1:9/v2/models/digits can't be reached" in output) == (1, True)


def test_logs_shows_only_the_replicas_of_the_model(server: Server, tmp_path: pathlib.Path) -> None:
    token = tmp_path / "token"
    token.write_text("t\n")
    code, output, _ = run("logs", NAME, "--ray-token-file", str(token), "--tail", "1")
    assert code == 0
    heading, line = output.splitlines()
    assert heading.startswith(f"==> revision 1 ({server.revision}), node node-one: serve/replica_default--digits--")
    assert line == "ready"
    server.logs.clear()
    asked = run("logs", NAME, "--ray-token-file", str(token), "--revision", "1")
    assert asked[:2] == (0, "Ray has no log of a replica of this model.\n")


def test_logs_reports_what_is_missing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, output = run("logs", NAME)
    assert (code, "--ray-token-file" in output) == (1, True)
    code, _, output = run("logs", NAME, "--revision", "9")
    assert (code, "has no revision 9" in output) == (1, True)
    monkeypatch.delenv("FAIRLEAD_RAY")
    code, _, output = run("logs", NAME)
    assert (code, "--ray http://HOST:PORT" in output) == (1, True)


@pytest.mark.parametrize(
    ("command", "option", "check"),
    [
        (("predict", NAME), "--gateway", "(--gateway or FAIRLEAD_GATEWAY, else that of the status)"),
        (("explain", NAME, "-f", "-"), "--gateway", "(--gateway or FAIRLEAD_GATEWAY, else that of the status)"),
        (("logs", NAME), "--ray", "(--ray or FAIRLEAD_RAY)"),
    ],
)
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:9", "http://[", "ftp://127.0.0.1"])
def test_an_address_without_a_server_is_named_with_what_to_check(
    found: WorldCluster, command: tuple[str, ...], option: str, check: str, url: str
) -> None:
    code, output, error = run(*command, option, url, stdin='{"inputs": []}')
    assert (code, output, error.count("\n")) == (1, "", 1)
    assert error.startswith(f"{url}/")
    assert "can't be reached: " in error
    assert check in error


@pytest.mark.parametrize(("command", "option"), [("predict", "--gateway"), ("logs", "--ray")])
@pytest.mark.parametrize("content", ["{}", "[]", "<html>", "1"])
def test_another_server_at_the_address_is_one_line(
    found: WorldCluster, command: str, option: str, content: str
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=content)

    def application() -> web.Application:
        made = web.Application()
        made.router.add_route("*", "/{path:.*}", answer)
        return made

    thread = HttpThread(application)
    thread.start()
    try:
        code, output, error = run(command, NAME, option, thread.url)
    finally:
        thread.stop()
    assert (code, output, error.count("\n")) == (1, "", 1)
    assert error.startswith(f"{thread.url}/")
    assert content in error
