"""The same requests to the fake Ray and to a real one: what the operator relies on must be so on both."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_ray import FakeRay
from tests.support.until import until

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).parents[2]
TOKEN = "contract-token"
APPLICATIONS = "/api/serve/applications/"
POLICY = "fairlead_runtime.autoscaling:decide"


@dataclass(frozen=True)
class Serve:
    """One of the two, by HTTP alone."""

    url: str
    token: str

    def send(self, method: str, path: str, body: Any = None, *, token: str | None = "") -> tuple[int, str]:
        headers = {"User-Agent": "fairlead-operator", "Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token or self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def put(self, *applications: dict[str, Any]) -> tuple[int, str]:
        return self.send("PUT", APPLICATIONS, {"proxy_location": "Disabled", "applications": list(applications)})

    def get(self) -> dict[str, Any]:
        code, text = self.send("GET", APPLICATIONS)
        assert code == 200, text
        document: dict[str, Any] = json.loads(text)
        return document

    def application(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get()["applications"].get(name) or {}
        return found

    def replicas(self, name: str, state: str = "RUNNING") -> set[str]:
        deployments = (self.application(name).get("deployments") or {}).values()
        return {r["replica_id"] for d in deployments for r in d["replicas"] if r["state"] == state}

    def until_status(self, name: str, status: str) -> dict[str, Any]:
        until(
            lambda: self.application(name).get("status") == status,
            f"{name} is {status}",
            deadline_s=400,
            explain=self.get,
        )
        return self.application(name)

    def until_only(self, *names: str) -> None:
        until(
            lambda: set(self.get()["applications"]) == set(names),
            f"only {names} are left",
            deadline_s=400,
            explain=self.get,
        )


@pytest.fixture(scope="module", params=["fake", "real"])
def serve(request: pytest.FixtureRequest, local_cluster: Callable[..., cluster.LocalCluster]) -> Iterator[Serve]:
    if request.param == "fake":
        with FakeRay(token=TOKEN) as fake:
            yield Serve(fake.url, TOKEN)
        return
    # With the path in the node's environment, in place of a runtime environment of their own, workers are forks.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        started = local_cluster(("ray",))
    yield Serve(started.ray_address, started.ray_token_file.read_text().strip())
    started.down()


def application(
    name: str = "a", *, uri: str = "good", replicas: int = 1, digest: str | None = None, attempt: int = 0
) -> Any:
    return {
        "name": name,
        "import_path": "tests.support.ray_app:build",
        "route_prefix": None,
        "args": {"config": {"source": {"uri": uri}, "attempt": attempt}},
        "deployments": [
            {
                "name": "replica",
                "num_replicas": replicas,
                "user_config": {"digest": digest},
                "ray_actor_options": {"num_cpus": 0.1},
                "graceful_shutdown_timeout_s": 1,
            }
        ],
    }


def test_a_head_without_serve_answers_200_without_a_controller(serve: Serve) -> None:
    document = serve.get()
    assert document["applications"] == {}
    assert not document["controller_info"].get("actor_id")


def test_the_session_has_a_name(serve: Serve) -> None:
    code, text = serve.send("GET", "/api/ray/version")
    assert code == 200
    assert json.loads(text)["session_name"].startswith("session_")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", APPLICATIONS), ("PUT", APPLICATIONS), ("GET", "/api/ray/version")]
)
def test_a_missing_token_is_401_and_a_wrong_one_403(serve: Serve, method: str, path: str) -> None:
    body = {"applications": []} if method == "PUT" else None
    assert serve.send(method, path, body, token=None)[0] == 401
    assert serve.send(method, path, body, token="wrong")[0] == 403


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"applications": [{"name": "a"}]}, id="no import path"),
        pytest.param({"applications": [application(), application()]}, id="a name twice"),
        pytest.param({"applications": [{**application(), "import_path": "nowhere"}]}, id="an import path of one word"),
        pytest.param({}, id="no applications"),
    ],
)
def test_a_config_that_violates_the_schema_gets_400_and_changes_nothing(serve: Serve, body: Any) -> None:
    before = set(serve.get()["applications"])
    assert serve.send("PUT", APPLICATIONS, body)[0] == 400
    assert set(serve.get()["applications"]) == before


def test_an_application_runs_and_shows_the_config_as_it_was_sent(serve: Serve) -> None:
    assert serve.put(application()) == (200, "")
    found = serve.until_status("a", "RUNNING")
    assert serve.get()["controller_info"]["actor_id"]
    assert found["deployed_app_config"] == application()
    assert found["source"] == "declarative"
    (deployment,) = found["deployments"].values()
    assert (deployment["status"], deployment["target_num_replicas"]) == ("HEALTHY", 1)
    assert len(serve.replicas("a")) == 1


def test_the_same_config_again_restarts_nothing(serve: Serve) -> None:
    serve.put(application())
    serve.until_status("a", "RUNNING")
    before = serve.replicas("a")
    serve.put(application())
    serve.until_status("a", "RUNNING")
    assert serve.replicas("a") == before


def test_more_replicas_and_another_user_config_keep_the_running_ones(serve: Serve) -> None:
    serve.put(application())
    serve.until_status("a", "RUNNING")
    before = serve.replicas("a")
    serve.put(application(replicas=2, digest="sha256:1"))
    until(lambda: len(serve.replicas("a")) == 2, "two replicas run", deadline_s=400)
    assert before < serve.replicas("a")
    serve.put(application(replicas=1, digest="sha256:1"))
    until(lambda: len(serve.replicas("a")) == 1, "one replica is left", deadline_s=400)


def scaled(least: int, most: int, *, down_s: int = 600) -> Any:
    """The application with bounds in place of a number."""
    made = application()
    (deployment,) = made["deployments"]
    del deployment["num_replicas"]
    deployment["autoscaling_config"] = {
        "min_replicas": least,
        "max_replicas": most,
        "downscale_delay_s": down_s,
        "policy": {"policy_function": POLICY},
    }
    return made


def test_other_bounds_hold_at_once_and_restart_nothing(serve: Serve) -> None:
    serve.put(scaled(1, 3))
    serve.until_status("a", "RUNNING")
    before = serve.replicas("a")
    serve.put(scaled(2, 4, down_s=300))
    until(lambda: len(serve.replicas("a")) == 2, "two replicas run", deadline_s=400)
    assert before < serve.replicas("a")
    assert serve.application("a")["deployed_app_config"] == scaled(2, 4, down_s=300)
    serve.put(scaled(1, 4))
    serve.until_status("a", "RUNNING")
    assert len(serve.replicas("a")) == 2, "bounds alone take nothing away that is within them"
    serve.put(scaled(1, 1))
    until(lambda: len(serve.replicas("a")) == 1, "one replica is left", deadline_s=400)


@pytest.mark.parametrize("is_turned_on", [True, False])
def test_a_policy_that_appears_or_disappears_starts_new_replicas(serve: Serve, is_turned_on: bool) -> None:
    first, then = (application(), scaled(1, 3)) if is_turned_on else (scaled(1, 3), application())
    serve.put(first)
    serve.until_status("a", "RUNNING")
    before = serve.replicas("a")
    serve.put(then)
    until(
        lambda: serve.application("a").get("status") == "RUNNING" and serve.replicas("a").isdisjoint(before),
        "the replicas are others",
        deadline_s=400,
    )


def test_other_args_start_new_replicas(serve: Serve) -> None:
    serve.put(application())
    serve.until_status("a", "RUNNING")
    before = serve.replicas("a")
    serve.put(application(attempt=7))
    until(
        lambda: serve.application("a").get("status") == "RUNNING" and serve.replicas("a").isdisjoint(before),
        "the replicas are others",
        deadline_s=400,
    )


def test_a_put_replaces_everything(serve: Serve) -> None:
    serve.put(application("a"), application("b"))
    serve.until_status("b", "RUNNING")
    serve.put(application("b"))
    serve.until_only("b")
    assert serve.application("b")["status"] == "RUNNING"


def test_a_replica_that_cannot_start_fails_the_application_with_its_own_words_and_is_not_tried_again(
    serve: Serve,
) -> None:
    serve.put(application("c", uri="broken"))
    failed = serve.until_status("c", "DEPLOY_FAILED")
    messages = failed["message"] + "".join(d["message"] for d in failed["deployments"].values())
    assert "ModelCorrupt: broken: not a SavedModel" in messages
    assert not serve.replicas("c")
    serve.put(application("c", uri="broken"))
    serve.until_status("c", "DEPLOY_FAILED")  # any PUT makes it DEPLOYING for a moment, and starts nothing
    assert not serve.replicas("c")
    serve.put(application("c", uri="good", attempt=1))
    serve.until_status("c", "RUNNING")


def test_a_controller_remains_after_the_last_application_is_removed(serve: Serve) -> None:
    serve.put(application("a"))
    serve.until_status("a", "RUNNING")
    assert serve.put() == (200, "")
    serve.until_only()
    assert serve.get()["controller_info"]["actor_id"], "empty, and believable"
