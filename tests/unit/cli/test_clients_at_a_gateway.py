"""`kubectl fairlead predict` and the counting client at the HAProxy of a gateway with TLS and API keys."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.testing
from aiohttp import web
from tests.support import bare_haproxy, certificates, web_tokens
from tests.support.http_thread import HttpThread
from tests.support.plugin_cluster import WorldCluster
from tests.support.virtual_world import VirtualWorld

from fairlead_cli import load
from fairlead_cli.plugin import cluster, commands
from fairlead_gateway import settings
from fairlead_gateway.haproxy import access, config, jwks, tokens
from fairlead_gateway.haproxy.wanted import map_text

pytestmark = pytest.mark.real

KEY = "team-a-key-0123456789"
UNKNOWN = "nobodys-key-0123456789"
ISSUED = web_tokens.make_key("issuer", "ES256")


@dataclass
class Secured:
    """A HAProxy with TLS that requires a key; `ca` has its certificate, `key` and `unknown` a client's key."""

    port: int
    ca: Path
    other_ca: Path
    key: Path
    unknown: Path
    token: Path
    late: Path
    request: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def load(self, *arguments: str, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The counting client as a program, with 20 requests."""
        return subprocess.run(
            [
                sys.executable, "-m", "fairlead_cli.load", "--url", self.url, "--model", "digits",
                "--body-file", str(self.request), "--requests", "20", "--connections", "4", *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, **(variables or {})},
        )  # fmt: skip

    def predict(self, *arguments: str) -> tuple[int, str, str]:
        """`kubectl fairlead predict`, with its status, output and errors."""
        asked = ["predict", "digits", "--gateway", self.url, "-f", str(self.request), *arguments]
        result = typer.testing.CliRunner().invoke(commands.app, asked)
        return result.exit_code, result.stdout, result.stderr


async def _answer(request: web.Request) -> web.Response:
    """A replica's answer, with the names of the headers that it got."""
    body = {
        "model_name": "digits",
        "outputs": [{"name": "y", "shape": [1, 2], "datatype": "FP32", "data": [0.25, 0.75]}],
        "names": sorted(request.headers),
    }
    return web.json_response(body)


def _replica() -> web.Application:
    made = web.Application()
    made.router.add_get("/-/healthz/{name}", _answer)
    made.router.add_post("/v2/models/digits/infer", _answer)
    return made


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    root = tmp_path_factory.mktemp("clients")
    pair = certificates.make_pair()
    pair.write(root / "tls.crt", root / "tls.key")
    certificates.make_pair().write(root / "other.crt", root / "other.key")
    (root / "team-a.key").write_text(f"{KEY}\n")
    (root / "unknown.key").write_text(UNKNOWN)
    (root / "token").write_text(f"{ISSUED.token(web_tokens.claims(exp=4_000_000_000))}\n")
    (root / "late-token").write_text(ISSUED.token(web_tokens.claims(exp=1)))
    (root / "request.json").write_text('{"inputs": []}')
    (root / "haproxy").mkdir()
    files = {
        access.TLS_FILE: (pair.certificate + pair.key).decode(),
        access.KEY_MAP: f"{hashlib.sha256(KEY.encode()).hexdigest().upper()} team-a\n",
    }
    found = jwks.parse(web_tokens.key_set([ISSUED]).encode(), settings.ALGORITHMS)
    files |= {tokens.key_file(name): pem for name, pem in found.pems.items()}
    accepted = settings.Tokens(jwks=root / "jwks.json", issuer=web_tokens.ISSUER, audiences=(web_tokens.AUDIENCE,))
    files |= {tokens.map_file(accepted): map_text(found.names or {})}
    options = config.Options(
        version="0.1.0",
        max_connections=100,
        is_tls=True,
        has_api_keys=True,
        tokens=accepted,
        token_keys=tuple(found.pems),
    )
    replica = HttpThread(_replica)
    replica.start()
    try:
        with bare_haproxy.running(root / "haproxy", options, files, replica_port=replica.port) as port:
            yield Secured(
                port=port,
                ca=root / "tls.crt",
                other_ca=root / "other.crt",
                key=root / "team-a.key",
                unknown=root / "unknown.key",
                token=root / "token",
                late=root / "late-token",
                request=root / "request.json",
            )
    finally:
        replica.stop()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAIRLEAD_API_KEY", "FAIRLEAD_TOKEN", "FAIRLEAD_CA_FILE", "FAIRLEAD_GATEWAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin finds the model in a cluster; only its gateway is real."""
    world = VirtualWorld()
    world.apply("digits", model={"uri": "file:///m/1", "version": "v1"})
    world.settle()
    monkeypatch.setattr(cluster, "connect", lambda **place: WorldCluster(world))


def test_the_counting_client_sends_the_key_of_a_file_and_checks_the_certificate(
    secured: Secured, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    done = secured.load("--api-key-file", str(secured.key), "--ca-file", str(secured.ca), "--json", str(report))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(report.read_text())["revisions"][bare_haproxy.REVISION]["count"] == 20
    assert KEY not in done.stdout + done.stderr + report.read_text()


def test_the_counting_client_takes_both_from_variables(secured: Secured) -> None:
    done = secured.load(variables={"FAIRLEAD_API_KEY": KEY, "FAIRLEAD_CA_FILE": str(secured.ca)})
    assert done.returncode == 0, done.stdout + done.stderr
    # A file is used before the variable.
    both = secured.load("--api-key-file", str(secured.unknown), "--ca-file", str(secured.ca),
                        variables={"FAIRLEAD_API_KEY": KEY})  # fmt: skip
    assert both.returncode == 1
    assert both.stdout.startswith("20 failed of 20 requests"), both.stdout
    assert "401" in both.stdout


def test_the_counting_client_fails_each_request_at_a_certificate_that_it_does_not_trust(secured: Secured) -> None:
    for arguments in ((), ("--ca-file", str(secured.other_ca))):
        done = secured.load("--api-key-file", str(secured.key), *arguments)
        assert done.returncode == 1
        assert done.stdout.startswith("20 failed of 20 requests"), done.stdout
        assert "CERTIFICATE_VERIFY_FAILED" in done.stdout


def test_a_key_or_a_certificate_that_is_no_use_is_one_sentence(secured: Secured, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(f"{KEY} {KEY}")
    for arguments, words in (
        (("--api-key-file", str(wrong)), "must hold one API key"),
        (("--api-key-file", str(secured.key), "--ca-file", str(wrong)), "must hold certificates in PEM form"),
        (("--api-key-file", str(secured.key), "--header", "authorization: Basic x"), "both set the header"),
        (("--api-key-file", str(secured.key), "--url", f"http://127.0.0.1:{secured.port}",
          "--ca-file", str(secured.ca)), "A CA file is for https alone"),
    ):  # fmt: skip
        done = secured.load(*arguments)
        assert done.returncode == 2, done.stdout
        assert words in done.stderr
        assert KEY not in done.stderr
        assert "Traceback" not in done.stderr


def test_a_background_run_sends_the_key_and_no_process_has_it_as_an_argument(secured: Secured) -> None:
    asked = load.Settings(
        url=secured.url, model="digits", bodies=(b"{}",), api_key=KEY, ca_file=secured.ca, connections=2
    )
    with load.background(asked) as running:
        running.wait_until(lambda progress: progress.requests >= 20, timeout_s=120)
        assert KEY.encode() not in Path(f"/proc/{running.pid}/cmdline").read_bytes()
        report = running.stop()
    assert report.failed == 0, report.summary()


@pytest.mark.usefixtures("_model")
def test_predict_sends_the_key_and_checks_the_certificate(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output, stderr = secured.predict("--api-key-file", str(secured.key), "--ca-file", str(secured.ca))
    assert code == 0, stderr
    assert "authorization" not in {name.lower() for name in json.loads(output)["names"]}, (
        "the replica does not see the key"
    )
    monkeypatch.setenv("FAIRLEAD_API_KEY", KEY)
    monkeypatch.setenv("FAIRLEAD_CA_FILE", str(secured.ca))
    assert secured.predict()[0] == 0


@pytest.mark.usefixtures("_model")
def test_predict_sends_a_token_of_a_file_or_a_variable(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = ("--ca-file", str(secured.ca))
    code, output, stderr = secured.predict("--token-file", str(secured.token), *trusted)
    assert code == 0, stderr
    assert "authorization" not in {name.lower() for name in json.loads(output)["names"]}
    monkeypatch.setenv("FAIRLEAD_API_KEY", UNKNOWN)
    assert secured.predict("--token-file", str(secured.token), *trusted)[0] == 0, "a file is used before a variable"
    monkeypatch.setenv("FAIRLEAD_TOKEN", secured.token.read_text())
    code, _, stderr = secured.predict(*trusted)
    assert code == 1
    assert "set FAIRLEAD_API_KEY or FAIRLEAD_TOKEN, not both" in stderr
    monkeypatch.delenv("FAIRLEAD_API_KEY")
    assert secured.predict(*trusted)[0] == 0


@pytest.mark.usefixtures("_model")
def test_predict_says_what_is_missing(secured: Secured, tmp_path: Path) -> None:
    trusted, keyed = ("--ca-file", str(secured.ca)), ("--api-key-file", str(secured.key))
    absent = ("--api-key-file", str(tmp_path / "absent"))
    plain = (*keyed, *trusted, "--gateway", f"http://127.0.0.1:{secured.port}")
    for arguments, words in (
        (
            trusted,
            "The gateway refused a request without an API key or a token: the request needs exactly one token or",
        ),
        (("--api-key-file", str(secured.unknown), *trusted), "The gateway refused the API key or token: the request"),
        (
            ("--token-file", str(secured.late), *trusted),
            "The gateway refused the API key or token: the token has expired.",
        ),
        (("--token-file", str(secured.token), *keyed, *trusted), "give --api-key-file or --token-file, not both."),
        ((*trusted, "--token-file", str(tmp_path / "absent")), "The token can't be read:"),
        (keyed, "Give the certificate of its issuer with --ca-file."),
        ((*keyed, "--ca-file", str(secured.other_ca)), "CERTIFICATE_VERIFY_FAILED"),
        ((*trusted, *absent), "The API key can't be read:"),
        (plain, "A CA file is for https alone"),
    ):
        code, _, stderr = secured.predict(*arguments)
        assert code == 1, arguments
        assert words in stderr
        assert KEY not in stderr
        assert UNKNOWN not in stderr
