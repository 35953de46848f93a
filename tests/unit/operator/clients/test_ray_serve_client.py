"""The Ray client over HTTP, against the fake Ray and against answers that no Ray should give."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support.fake_ray import FakeRay, Trap
from tests.support.http_thread import HttpThread

from fairlead_operator.clients import clock, errors, http, ray_serve
from fairlead_operator.state import serve

Counted = list[tuple[str, str]]


@pytest.fixture
async def http_client() -> AsyncIterator[http.HttpClient]:
    client = http.HttpClient(clock=clock.SystemClock())
    yield client
    await client.close()


def client_of(url: str, http_client: http.HttpClient, token_file: Path | None = None) -> ray_serve.RayServeClient:
    read = functools.partial(ray_serve.read_token_file, token_file) if token_file is not None else None
    return ray_serve.RayServeClient(url, read_token=read, http_client=http_client, on_request=lambda *_: None)


APPLICATION = {
    "name": "a",
    "import_path": "x:build",
    "route_prefix": None,
    "args": {"config": {"source": {"uri": "good"}}},
    "deployments": [{"name": "replica", "num_replicas": 2}],
}
BODY = json.dumps({"applications": [APPLICATION]}).encode()


async def test_applications_are_read_as_they_were_put(http_client: http.HttpClient) -> None:
    with FakeRay() as ray:
        ray.set_start_s(0)
        client = client_of(ray.url, http_client)
        assert await client.fetch_instance() == ray_serve.Instance(controller_id=None, applications={})
        await client.put_applications(BODY)
        instance = await client.fetch_instance()
        assert instance.controller_id is not None
        view = instance.applications["a"]
        assert (view.status, view.running_replicas, view.target_replicas) == (serve.ApplicationStatus.RUNNING, 2, 2)
        assert view.config == APPLICATION


async def test_replicas_that_no_node_has_room_for_are_counted_with_the_time_of_the_first(
    http_client: http.HttpClient,
) -> None:
    replicas = [
        {"replica_id": "0", "state": "UPDATING", "node_id": "n", "start_time_s": 50.0},
        {"replica_id": "1", "state": "RUNNING", "node_id": "n", "start_time_s": 50.0},
        {"replica_id": "2", "state": "STARTING", "node_id": "n", "start_time_s": 60.0},
        {"replica_id": "3", "state": "STARTING", "node_id": None, "start_time_s": 80.5},
        {"replica_id": "4", "state": "STARTING", "node_id": None, "start_time_s": 70.5},
    ]
    deployment = {"name": "replica", "target_num_replicas": 5, "replicas": replicas}
    application = {"status": "RUNNING", "deployments": {"replica": deployment}}
    body = {"controller_info": {"actor_id": "x"}, "applications": {"a": application}}

    async with _Answering(body) as url:
        view = (await client_of(url, http_client).fetch_instance()).applications["a"]
    assert (view.running_replicas, view.target_replicas, view.waiting_replicas) == (2, 5, 2)
    assert view.waiting_since == datetime.datetime(1970, 1, 1, 0, 1, 10, tzinfo=datetime.UTC)
    assert view.running_ids == ("0", "1")


async def test_a_model_in_stages_has_as_many_replicas_as_its_rarest_stage(http_client: http.HttpClient) -> None:
    def deployment(*states: str) -> dict[str, Any]:
        replicas = [{"replica_id": f"{i}", "state": state, "node_id": None} for i, state in enumerate(states)]
        return {"target_num_replicas": 2, "replicas": replicas}

    stages = {"replica": deployment("RUNNING", "RUNNING"), "stage-2": deployment("RUNNING", "STARTING")}
    body = {
        "controller_info": {"actor_id": "x"},
        "applications": {"a": {"status": "DEPLOYING", "deployments": stages}},
    }
    async with _Answering(body) as url:
        view = (await client_of(url, http_client).fetch_instance()).applications["a"]
    assert (view.running_replicas, view.target_replicas, view.waiting_replicas) == (1, 2, 1)
    assert len(view.running_ids) == 3


async def test_a_rotated_token_is_read_again_once(http_client: http.HttpClient, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    with FakeRay(token="new") as ray:
        client = client_of(ray.url, http_client, token)
        with pytest.raises(errors.Forbidden, match="403"):
            await client.fetch_instance()
        token.write_text("new\n")
        await client.fetch_instance()


async def test_a_token_that_ray_still_takes_is_kept_after_a_rotation(http_client: http.HttpClient) -> None:
    """The head has the one that it was started with."""
    with FakeRay(token="old") as ray:
        tokens = ["new", "old"]
        client = ray_serve.RayServeClient(
            ray.url, read_token=tokens.pop, http_client=http_client, on_request=lambda *_: None
        )
        await client.fetch_instance()
        await client.fetch_instance()
        ray.set_token("new")
        await client.fetch_instance()
        assert tokens == []


async def test_an_unreadable_token_file_is_reported(http_client: http.HttpClient, tmp_path: Path) -> None:
    with pytest.raises(errors.Forbidden, match="token file"):
        await client_of("http://127.0.0.1:1", http_client, tmp_path / "none").fetch_instance()


async def test_a_refused_connection_is_unreachable(http_client: http.HttpClient) -> None:
    with pytest.raises(errors.Unreachable, match="Ray: GET"):
        await client_of("http://127.0.0.1:1", http_client).fetch_instance()


@pytest.mark.parametrize("trap", [Trap.UNAVAILABLE, Trap.CUT])
async def test_an_invalid_answer_is_unreachable(http_client: http.HttpClient, trap: Trap) -> None:
    with FakeRay() as ray:
        ray.set_trap(trap)
        with pytest.raises(errors.Unreachable):
            await client_of(ray.url, http_client).fetch_instance()


async def test_a_put_that_violates_the_schema_is_refused_with_the_message_of_ray(http_client: http.HttpClient) -> None:
    with FakeRay() as ray:
        twice = json.dumps({"applications": [APPLICATION, APPLICATION]}).encode()
        with pytest.raises(errors.Refused, match="duplicates"):
            await client_of(ray.url, http_client).put_applications(twice)


async def test_a_put_whose_answer_is_500_may_have_happened(http_client: http.HttpClient) -> None:
    with FakeRay() as ray:
        ray.fail_next_put_after_it_happened()
        client = client_of(ray.url, http_client)
        with pytest.raises(errors.Unreachable):
            await client.put_applications(BODY)
        assert set((await client.fetch_instance()).applications) == {"a"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        pytest.param({}, "controller_info", id="nothing in it"),
        pytest.param({"controller_info": {}, "applications": {"a": {}}}, "status", id="an application without status"),
        pytest.param([], "unexpected answer", id="a list"),
    ],
)
async def test_a_missing_field_is_unreachable_and_named(
    http_client: http.HttpClient, document: object, words: str
) -> None:
    async with _Answering(document) as url:
        with pytest.raises(errors.Unreachable, match=words):
            await client_of(url, http_client).fetch_instance()


async def test_an_answer_that_would_fill_the_memory_is_not_parsed(
    http_client: http.HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of empty lists takes thirty times its bytes, so a hostile Ray could end the operator of all namespaces."""
    monkeypatch.setattr(ray_serve, "ANSWER_VALUES_MAX", 1000)
    config: dict[str, object] = {"x": []}
    document = {"controller_info": {}, "applications": {"a": {"status": "RUNNING", "deployed_app_config": config}}}
    async with _Answering(document) as url:
        assert (await client_of(url, http_client).fetch_instance()).applications["a"].name == "a"
    config["x"] = [[] for _ in range(1000)]
    async with _Answering(document) as url:
        with pytest.raises(errors.AnswerTooLong, match="more than 1000 values"):
            await client_of(url, http_client).fetch_instance()


async def test_an_unknown_status_does_not_count_as_healthy(http_client: http.HttpClient) -> None:
    document = {"controller_info": {"actor_id": "x"}, "applications": {"a": {"status": "BLOOMING"}}}
    async with _Answering(document) as url:
        instance = await client_of(url, http_client).fetch_instance()
    assert instance.applications["a"].status is serve.ApplicationStatus.UNKNOWN_STATUS


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("ü", id="a text"),
        pytest.param(2**70, id="an integer of more than 64 bits"),
        pytest.param(float("inf"), id="a number that JSON has no form for"),
    ],
)
async def test_an_application_that_is_as_it_was_is_the_same_object_again(
    http_client: http.HttpClient, value: object
) -> None:
    """What somebody else runs there is put again as it was read, whatever is in it."""
    theirs = {"status": "RUNNING", "deployed_app_config": {"name": "theirs", "args": {"value": value}}}
    document: dict[str, Any] = {"controller_info": {"actor_id": "x"}, "applications": {"theirs": theirs}}
    async with _Answering(document) as url:
        client = client_of(url, http_client)
        before = await client.fetch_instance()
        document["applications"]["another"] = {"status": "RUNNING"}
        now = await client.fetch_instance()
    assert now.applications["theirs"] is before.applications["theirs"]
    assert now.applications["theirs"].config == theirs["deployed_app_config"]


async def test_an_application_with_another_configuration_is_another_object(http_client: http.HttpClient) -> None:
    one: dict[str, Any] = {"status": "RUNNING", "deployed_app_config": {"name": "a", "deployments": []}}
    async with _Answering({"controller_info": {"actor_id": "x"}, "applications": {"a": one}}) as url:
        client = client_of(url, http_client)
        await client.fetch_instance()
        one["deployed_app_config"] = {"name": "a"}
        assert (await client.fetch_instance()).applications["a"].config == {"name": "a"}


class _Answering:
    """A server that gives one document to everyone."""

    def __init__(self, document: object) -> None:
        self._document = document
        self._server = HttpThread(self._application)

    def _application(self) -> web.Application:
        async def answer(_request: web.Request) -> web.Response:
            return web.json_response(self._document)

        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", answer)
        return application

    async def __aenter__(self) -> str:
        self._server.start()
        return self._server.url

    async def __aexit__(self, *_: object) -> None:
        self._server.stop()
