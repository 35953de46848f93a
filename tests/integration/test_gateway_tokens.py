"""JSON Web Tokens at a real gateway with its agent: what a replica sees, and changes of the key set under load."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from tests.support import counting_client, request_counts, web_tokens
from tests.support.free_ports import free_port
from tests.support.gateway_process import Gateway, Replicas, fetch, make_node, revision, spec
from tests.support.until import until
from tests.support.web_tokens import Key, claims, make_key

pytestmark = pytest.mark.real

A = "aaaaaaaaaa"
FIRST, SECOND = make_key("2026-11", "RS256"), make_key("2026-12", "ES256")
HEALTH = "/grpc.health.v1.Health/Check"
METADATA = "/inference.GRPCInferenceService/ServerMetadata"
RELOADS = "fairlead_gateway_haproxy_reloads_total"


@dataclass
class Issued:
    """A gateway that takes the tokens of an issuer, and one replica that repeats the headers of a request."""

    jwks: Path
    gateway: Gateway
    replicas: Replicas
    internal: str

    def publish(self, *keys: Key | dict[str, object]) -> None:
        self.write(web_tokens.key_set(keys))

    def write(self, text: str) -> None:
        temporary = self.jwks.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(self.jwks)

    def status(self, token: str | None, path: str = "/v2/models/digits/infer") -> int:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return fetch(f"{self.gateway.url}{path}", body=b"{}", headers=headers).status

    def logs(self) -> str:
        folder = self.gateway.state_dir
        return "".join((folder / name).read_text() for name in ("agent.log", "haproxy.log"))

    def load(self, token: str) -> counting_client.Background:
        asked = counting_client.Settings(
            url=self.gateway.url,
            model="digits",
            bodies=(b'{"inputs":[]}',),
            connections=4,
            rate_limit=request_counts.limit(200.0),
            timeout_s=60,
            api_key=token,
        )
        return counting_client.Background(asked)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issued]:
    root = tmp_path_factory.mktemp("tokens")
    node, port = make_node(root / "node"), free_port()
    arguments = (
        f"--routes-file={root / 'gateway-routes.json'}",
        f"--jwks={root / 'jwks.json'}",
        f"--jwt-issuer={web_tokens.ISSUER}",
        f"--jwt-audience={web_tokens.AUDIENCE}",
        f"--internal-port={port}",
    )
    gateway = Gateway(root / "gateway", nodes=[node], arguments=arguments)
    replicas = Replicas(node)
    made = Issued(root / "jwks.json", gateway, replicas, f"http://127.0.0.1:{port}")
    made.publish(FIRST)
    try:
        gateway.start()
        replicas.start("digits", A)
        gateway.apply(digits=spec(A, {A: revision(aliases=("1",))}))
        gateway.wait_up("digits", A)
        yield made
    finally:
        gateway.stop()
        replicas.stop()


def test_a_client_with_a_token_is_answered_and_the_replica_does_not_see_it(issued: Issued) -> None:
    token = FIRST.token()
    for path in ("/v2/models/digits/infer", "/v1/models/digits:predict"):
        answer = fetch(
            f"{issued.gateway.url}{path}", body=b'{"instances":[]}', headers={"authorization": f"Bearer {token}"}
        )
        assert answer.status == 200, answer.text
        assert "authorization" not in answer.json["names"]
        assert token not in answer.text
        late = FIRST.token(claims(exp=1))
        refused = fetch(f"{issued.gateway.url}{path}", body=b"{}", headers={"authorization": f"Bearer {late}"})
        assert (refused.status, refused.json) == (401, {"error": "the token has expired"})
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    assert token not in issued.logs()


def test_grpc_takes_a_token_and_its_health_needs_none(issued: Issued) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{issued.gateway.data_port}") as channel:
        right = (("authorization", f"Bearer {FIRST.token()}"),)
        assert b"fairlead" in channel.unary_unary(METADATA)(b"", timeout=20, metadata=right)
        wrong = (("authorization", f"Bearer {make_key(FIRST.kid, 'RS256').token()}"),)
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(METADATA)(b"", timeout=20, metadata=wrong)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert refused.value.details() == "the signature of the token is wrong"
        assert channel.unary_unary(HEALTH)(b"", timeout=20) == b"\x08\x01"


def test_the_operator_and_replicas_need_no_token_at_the_internal_port(issued: Issued) -> None:
    named = {"x-fairlead-revision": A}
    assert fetch(f"{issued.internal}/v2/models/digits/proof", body=b"", headers=named).status == 200
    assert fetch(f"{issued.internal}/v2/models/digits/infer", body=b"{}").status == 403


def test_a_rotation_under_load_fails_no_request_of_either_key(issued: Issued) -> None:
    """As an issuer does it: it publishes the new key, signs with it, then takes the old one away."""
    reloads = issued.gateway.metric(RELOADS)
    assert issued.status(SECOND.token()) == 401
    with issued.load(FIRST.token()) as first:
        first.wait_until(lambda progress: progress.requests >= 50, timeout_s=200)
        issued.publish(FIRST, SECOND)
        until(lambda: issued.status(SECOND.token()) == 200, "the new key")
        with issued.load(SECOND.token()) as second:
            second.wait_until(lambda progress: progress.requests >= 50, timeout_s=200)
            seen = first.progress().requests
            first.wait_until(lambda progress: progress.requests >= seen + 50, timeout_s=200)
            old = first.stop()
            issued.publish(SECOND)
            until(lambda: issued.status(FIRST.token()) == 401, "the old key is gone")
            until(lambda: issued.gateway.metric(RELOADS) >= reloads + 2, "HAProxy has forgotten it")
            seen = second.progress().requests
            second.wait_until(lambda progress: progress.requests >= seen + 50, timeout_s=200)
            new = second.stop()
    assert (old.failed, new.failed) == (0, 0), old.summary() + new.summary()
    assert old.requests >= 100
    assert new.requests >= 100
    issued.publish(FIRST, SECOND)
    until(lambda: issued.status(FIRST.token()) == 200, "as before")


def test_a_removed_key_is_refused_also_while_the_routes_cannot_be_applied(issued: Issued) -> None:
    """More revisions than the gateway has places for hold up the routes, and must hold up nothing else."""
    names = [f"{number:010x}" for number in range(32)]
    crowd = {f"m{number}": spec(names[0], {name: revision() for name in names}) for number in range(257)}
    try:
        issued.gateway.route(**crowd)
        until(lambda: "routes not applied" in issued.logs(), "the table is refused")
        issued.publish(SECOND)
        until(lambda: issued.status(FIRST.token()) == 401, "the key is refused")
        assert issued.status(SECOND.token()) == 200
    finally:
        issued.publish(FIRST, SECOND)
        issued.gateway.forget(*crowd)
    issued.gateway.apply(digits=spec(A, {A: revision(aliases=("1",))}))
    until(lambda: issued.status(FIRST.token()) == 200, "as before")


def test_a_key_set_that_is_no_use_changes_nothing_and_is_reported(issued: Issued) -> None:
    reloads = issued.gateway.metric(RELOADS)
    issued.write("<html>502</html>")
    until(lambda: issued.gateway.metric("fairlead_gateway_jwks_refused") == 1, "it is reported")
    assert "must be JSON" in issued.logs()
    assert issued.status(FIRST.token()) == 200
    issued.publish(FIRST, SECOND, make_key("short", "RS256", bits=1024).jwk())
    until(lambda: issued.gateway.metric("fairlead_gateway_refused_token_keys") == 1, "one key is reported")
    assert issued.gateway.metric("fairlead_gateway_jwks_refused") == 0
    assert issued.gateway.metric("fairlead_gateway_token_keys") == 2
    assert "kid=short reason=n must be the modulus of an RSA key with 2048 to 4096 bits, has 1024" in issued.logs()
    assert issued.gateway.metric(RELOADS) == reloads


def test_a_token_that_ends_is_refused_from_then_on(issued: Issued) -> None:
    """The clocks may differ by a minute, which is the default."""
    token = FIRST.token(claims(exp=int(time.time()) - 57))
    until(lambda: issued.status(token) == 401, "it has expired")


def test_a_restarted_agent_without_its_key_set_goes_on_with_what_haproxy_has(issued: Issued) -> None:
    issued.gateway.kill_agent()
    moved = issued.jwks.rename(issued.jwks.with_name("away"))
    issued.gateway.start()
    until(lambda: "no keys of tokens" in issued.logs(), "the reason is logged")
    assert not issued.gateway.is_ready()
    assert issued.status(FIRST.token()) == 200
    assert issued.status(None) == 401
    moved.rename(issued.jwks)
    until(issued.gateway.is_ready, "ready")
    assert issued.status(FIRST.token()) == 200
