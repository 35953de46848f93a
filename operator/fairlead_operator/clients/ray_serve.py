"""Ray Serve's REST API: two reads and one write. Source: ``ray/dashboard/modules/serve/serve_head.py`` of Ray 2.60."""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pydantic

from fairlead_operator.clients import errors, http, ray_capacity
from fairlead_operator.state import capacity, json_text, serve

TIMEOUT_S = 10.0
PUT_TIMEOUT_S = 10.0
PUT_LEAST_S = 6.0
"""Ray has no version check, so a PUT that is given up may still happen: none begins with less time than this. It is
less than the Lease has left between two renewals, also where these take some seconds."""
CAPACITY_TIMEOUT_S = 2.0
APPLICATIONS_PATH = "/api/serve/applications/"
# Served by the same module as the applications, so it is there whenever they are.
VERSION_PATH = "/api/ray/version"
RUNNING = ("RUNNING", "UPDATING")
"""A replica is UPDATING while it takes another configuration, such as other bounds: it answers all the time."""
STARTING = "STARTING"
ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""Some 10,000 applications with their configurations and a traceback in a few of them."""
ANSWER_VALUES_MAX = 2_000_000
"""Some 10,000 applications: one has about 130, and 11 more for each replica."""


_DIGEST_BYTES = 16


class _Wire(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)


class _Replica(_Wire):
    replica_id: str = ""
    state: str
    node_id: str | None = None
    start_time_s: float = 0.0


class _Deployment(_Wire):
    message: str = ""
    target_num_replicas: int = 0
    replicas: tuple[_Replica, ...] = ()


class _Application(_Wire):
    status: str
    message: str = ""
    source: str = "declarative"
    deployed_app_config: dict[str, Any] | None = None
    deployments: dict[str, _Deployment] = {}


class _Controller(_Wire):
    actor_id: str | None = None


class _Instance(_Wire):
    controller_info: _Controller
    applications: dict[str, _Application]


class _Version(_Wire):
    session_name: str


ReadToken = Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What ``GET`` said. Without a controller the empty list of applications proves nothing."""

    controller_id: str | None
    applications: Mapping[str, serve.ApplicationView]


class RayServeClient:
    """One Ray cluster. The token is read at first use, and again when Ray refuses it.

    So a token that was replaced is used from when Ray's head has it, and the one before until then.
    """

    def __init__(
        self, base_url: str, *, read_token: ReadToken | None, http_client: http.HttpClient, on_request: http.OnRequest
    ) -> None:
        """``read_token`` raises errors.Forbidden where the token can't be read; None: Ray asks for none."""
        self._base_url = base_url.rstrip("/")
        self._read_token = read_token
        self._http = http_client
        self._on_request = on_request
        self._token: str | None = None
        self.parse_s = 0.0
        """How long the last answer that differed kept the event loop."""
        self._last: tuple[bytes, Instance] | None = None
        """The digest of the last answer, and what it said. The answer of many applications is too large to be kept."""

    async def fetch_instance(self) -> Instance:
        """Every application with its state: a missing field is Unreachable, an unknown status UNKNOWN_STATUS."""
        answer = await self._send("GET", APPLICATIONS_PATH)
        began_s = time.perf_counter()
        digest = hashlib.blake2b(answer.body, digest_size=_DIGEST_BYTES).digest()
        if self._last is not None and self._last[0] == digest:
            return self._last[1]
        try:
            instance = _Instance.model_validate_json(answer.body)
        except pydantic.ValidationError as error:
            words = f"unexpected answer: {_first_problem(error)}"
            raise errors.Unreachable(f"Ray: {words}", cause=words) from error
        applications = {name: self._view(name, application) for name, application in instance.applications.items()}
        made = Instance(controller_id=instance.controller_info.actor_id or None, applications=applications)
        self._last = (digest, made)
        self.parse_s = time.perf_counter() - began_s
        return made

    def _view(self, name: str, application: _Application) -> serve.ApplicationView:
        """The same object as last time where nothing of it changed: whoever compares a thousand of them is quick."""
        known = self._last[1].applications.get(name) if self._last is not None else None
        made = _view(name, application, known.config if known is not None else None)
        return known if known is not None and known == made else made

    async def fetch_session(self) -> str:
        """The name of the life of Ray's head: another one means that everything was lost."""
        answer = await self._send("GET", VERSION_PATH)
        try:
            return _Version.model_validate(answer.json()).session_name
        except pydantic.ValidationError as error:
            words = f"no session name: {_first_problem(error)}"
            raise errors.Unreachable(f"Ray: {words}", cause=words) from error

    async def fetch_capacity(self, *, now_s: float) -> capacity.Capacity:
        """The free room of the cluster; Unreachable where it can't be known."""
        answer = await self._send("GET", ray_capacity.STATUS_PATH, timeout_s=CAPACITY_TIMEOUT_S)
        return ray_capacity.read(answer.json(), now_s=now_s)

    async def put_applications(self, body: bytes) -> None:
        """Replace the whole config. Refused: nothing happened. Unreachable: it may have happened, read again."""
        await self._send("PUT", APPLICATIONS_PATH, body=body, timeout_s=PUT_TIMEOUT_S)

    async def _send(
        self, method: str, path: str, *, body: bytes | None = None, timeout_s: float = TIMEOUT_S
    ) -> http.Answer:
        answer = await self._send_once(method, path, body, timeout_s=timeout_s)
        if answer.code in (401, 403):
            self._token = None
            answer = await self._send_once(method, path, body, timeout_s=timeout_s)
        if answer.code < 300:
            return answer
        sentence, cause = f"Ray: {method} {path}: {answer.code}: {answer.excerpt()}", answer.describe()
        if answer.code in (401, 403):
            raise errors.Forbidden(sentence, cause=cause)
        if answer.code in (400, 422):
            raise errors.Refused(sentence, cause=cause)
        raise errors.Unreachable(sentence, cause=cause)

    async def _send_once(self, method: str, path: str, body: bytes | None, *, timeout_s: float) -> http.Answer:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._read_token is not None:
            if self._token is None:
                self._token = self._read_token()
            headers["Authorization"] = f"Bearer {self._token}"
        request = http.Request(
            method=method,
            url=self._base_url + path,
            headers=headers,
            body=body,
            timeout_s=timeout_s,
            answer_bytes_max=ANSWER_BYTES_MAX,
            answer_values_max=ANSWER_VALUES_MAX,
            least_s=PUT_LEAST_S,
        )
        return await self._http.send(request, who="Ray", on_request=self._on_request)


def read_token_file(path: Path) -> str:
    """The token in a file.

    Raises:
        errors.Forbidden: it can't be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise errors.Forbidden(f"cannot read Ray's token file {path}: {error.strerror}") from error


def _view(name: str, application: _Application, known: Mapping[str, object] | None) -> serve.ApplicationView:
    """``known`` is the application's configuration as it was read before."""
    deployments = application.deployments.values()
    messages = [application.message, *(deployment.message for deployment in deployments)]
    replicas = [replica for deployment in deployments for replica in deployment.replicas]
    running = [sum(replica.state in RUNNING for replica in deployment.replicas) for deployment in deployments]
    # Ray names the node of a replica once it has found one with room.
    waiting_s = [each.start_time_s for each in replicas if each.state == STARTING and each.node_id is None]
    return serve.ApplicationView(
        name=name,
        status=_status(application.status),
        message="\n".join(dict.fromkeys(message for message in messages if message)),
        running_replicas=min(running, default=0),
        target_replicas=max((deployment.target_num_replicas for deployment in deployments), default=0),
        waiting_replicas=len(waiting_s),
        running_ids=tuple(sorted(each.replica_id for each in replicas if each.state in RUNNING and each.replica_id)),
        waiting_since=datetime.datetime.fromtimestamp(int(min(waiting_s)), datetime.UTC) if waiting_s else None,
        config=_keep(application.deployed_app_config, known),
        declarative=application.source != "imperative",
    )


def _keep(config: dict[str, Any] | None, known: Mapping[str, object] | None) -> json_text.KeptJson | None:
    if config is None:
        return None
    if isinstance(known, json_text.KeptJson) and known.text == _sorted_json(config):
        return known
    return json_text.KeptJson(config)


def _sorted_json(config: dict[str, Any]) -> bytes | None:
    """The same as ``json_text.canonical_json``, in a tenth of the time; None where an integer has more than 64 bits."""
    try:
        return orjson.dumps(config, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return None


def _status(word: str) -> serve.ApplicationStatus:
    try:
        return serve.ApplicationStatus(word)
    except ValueError:
        return serve.ApplicationStatus.UNKNOWN_STATUS


def _first_problem(error: pydantic.ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
