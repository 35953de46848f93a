"""Models behind TLS with an authority of one's own: what is trusted, what is tried again, what is said."""

from __future__ import annotations

import dataclasses
import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from tests.support import authorities, object_servers
from tests.support.authorities import Authority
from tests.support.model_server import CONTENT, Web, serving

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import cache, http_fetch, source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.fetching import allowance, guarded_proxy, store_process
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.outbound import Outbound, parse_networks, parse_proxy

BOUNDS = Bounds(bytes_max=1_000_000, idle_s=5, total_s=20)
LOOPBACK = Outbound(networks=parse_networks("127.0.0.0/8"))
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authorities.make(tmp_path_factory.mktemp("authority"))


def fetch(web: Web, tmp_path: Path, ca_file: Path | None, bounds: Bounds = BOUNDS) -> cache.Fetched:
    kept = cache.Cache(tmp_path / "cache", bytes_max=1_000_000_000)
    return source.fetch(web.url, DIGEST, kept, bounds, access=Access(ca_file=ca_file, outbound=LOOPBACK))


def with_secret(tmp_path: Path, outbound: Outbound = LOOPBACK, ca_file: Path | None = None, **values: str) -> Access:
    object_servers.write_secret(tmp_path / "secrets", "web", values)
    hosts = {"web": ("127.0.0.1", "localhost")}
    secrets = tmp_path / "secrets"
    return Access(secret="web", secrets_dir=secrets, secret_hosts=hosts, outbound=outbound, ca_file=ca_file)


def error_of(call: Callable[[], object]) -> LoadError:
    with pytest.raises(LoadError) as raised:
        call()
    return raised.value


def test_servers_of_a_configured_authority_are_trusted_also_after_a_redirect(
    authority: Authority, tmp_path: Path
) -> None:
    certificate = authority.issue(tmp_path)
    with serving(certificate) as web, serving(certificate) as other:
        web.steps = [other.url]
        assert fetch(web, tmp_path, authority.file).path.read_bytes() == CONTENT
        assert (web.connections, other.connections) == (1, 1)


def test_a_configured_authority_is_added_to_those_of_the_system(authority: Authority) -> None:
    systems = ssl.create_default_context().get_ca_certs(binary_form=True)
    trusted = http_fetch.trust(authority.file).get_ca_certs(binary_form=True)
    assert set(systems) < set(trusted) or (not systems and len(trusted) == 1)


@pytest.mark.parametrize(
    ("name", "days", "is_named", "words"),
    [
        ("127.0.0.1", 1, False, "unable to get local issuer certificate; FAIRLEAD_CA_FILE can name its authority"),
        ("127.0.0.2", 1, True, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("models.example.org", 1, True, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("127.0.0.1", -1, True, "certificate has expired"),
    ],
)
def test_an_invalid_certificate_is_final_and_explained(
    authority: Authority, tmp_path: Path, name: str, days: int, is_named: bool, words: str
) -> None:
    with serving(authority.issue(tmp_path, name=name, days=days)) as web:
        error = error_of(lambda: fetch(web, tmp_path, authority.file if is_named else None))
        assert web.connections == 1
    assert error.reason is LoadReason.FETCH_FAILED
    assert error.sentence.startswith(f"{web.url}: the server's certificate is not trusted: ")
    assert error.sentence.endswith(words)


def test_an_interrupted_body_over_tls_is_resumed(authority: Authority, tmp_path: Path) -> None:
    with serving(authority.issue(tmp_path)) as web:
        web.steps = [1000, 2000]
        assert fetch(web, tmp_path, authority.file).path.read_bytes() == CONTENT
    assert web.ranges == [None, "bytes=1000-", "bytes=3000-"]


def test_a_redirect_from_https_to_http_is_refused(authority: Authority, tmp_path: Path) -> None:
    with serving(authority.issue(tmp_path)) as web:
        web.steps = ["http://127.0.0.1:1/model.keras"]
        error = error_of(lambda: fetch(web, tmp_path, authority.file))
    assert error.reason is LoadReason.MODEL_FORBIDDEN
    assert "which is not followed" in error.sentence


def test_a_silent_server_is_given_up_in_time_with_a_message(authority: Authority, tmp_path: Path) -> None:
    quick = Bounds(bytes_max=1_000_000, idle_s=0.2, total_s=0.8)
    with serving(authority.issue(tmp_path)) as web:
        web.silent_until = Event()
        error = error_of(lambda: fetch(web, tmp_path, authority.file, quick))
    assert error.reason is LoadReason.FETCH_FAILED
    assert error.sentence == (
        "the model was not read within 0.8 s (FAIRLEAD_FETCH_TOTAL_SECONDS): nothing came for 0.2 s"
    )


def test_a_slow_server_is_given_up_after_the_total_time(authority: Authority, tmp_path: Path) -> None:
    quick = Bounds(bytes_max=1_000_000, idle_s=5, total_s=1.0)
    with serving(authority.issue(tmp_path)) as web:
        web.drips = True
        error = error_of(lambda: fetch(web, tmp_path, authority.file, quick))
    assert error.sentence == "the model was not read within 1 s (FAIRLEAD_FETCH_TOTAL_SECONDS)"


@pytest.mark.parametrize("content", [None, b"", b"not PEM"])
def test_an_unreadable_file_of_authorities_is_a_configuration_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    error = error_of(lambda: fetch(Web(url="https://127.0.0.1:1/m"), tmp_path, tmp_path / "ca.pem"))
    assert error.reason is LoadReason.CONFIG_INVALID
    assert str(tmp_path / "ca.pem") in error.sentence


@pytest.mark.parametrize(
    ("values", "header"),
    [
        ({"token": "abc"}, "Bearer abc"),
        ({"token": "abc\n"}, "Bearer abc"),
        ({"username": "me", "password": "word"}, "Basic bWU6d29yZA=="),
    ],
)
def test_the_secrets_credentials_are_sent_to_the_first_server_and_to_no_other(
    authority: Authority, tmp_path: Path, values: dict[str, str], header: str
) -> None:
    certificate = authority.issue(tmp_path)
    access = with_secret(tmp_path, ca_file=authority.file, **values)
    kept = cache.Cache(tmp_path / "cache", bytes_max=10**9)
    with serving(certificate) as web, serving(certificate) as other:
        web.steps = [503, "/moved", other.url]
        source.fetch(web.url, DIGEST, kept, BOUNDS, access=access)
        assert web.authorizations == [header] * 3
        assert other.authorizations == [None]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"user": "me"}, "the Secret has no key username"),
        ({"username": "me"}, "the Secret has no key password"),
        ({"token": "a\nb: c"}, "other than ASCII"),
        ({}, "is empty"),
    ],
)
def test_a_secret_that_holds_no_credentials_for_http_is_refused(
    tmp_path: Path, values: dict[str, str], words: str
) -> None:
    kept = cache.Cache(tmp_path / "cache", bytes_max=10**9)
    with serving() as web:
        error = error_of(lambda: source.fetch(web.url, None, kept, BOUNDS, access=with_secret(tmp_path, **values)))
        assert web.connections == 0
    assert (error.reason, words in error.sentence) == (LoadReason.MODEL_FORBIDDEN, True), error.sentence
    assert error.sentence.startswith("spec.model.credentialsSecretName: ")


def test_credentials_are_not_sent_in_clear_to_a_network_that_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Loopback stands for a public address here.
    monkeypatch.setattr(Outbound, "_check_literal", lambda *_: None)
    monkeypatch.setattr(store_process, "download", object_servers.download_in_this_process)
    access = with_secret(tmp_path, outbound=Outbound(), token="abc")
    kept = cache.Cache(tmp_path / "cache", bytes_max=10**9)
    with serving() as web:
        error = error_of(lambda: source.fetch(web.url, None, kept, BOUNDS, access=access))
        assert web.authorizations == []
        store = dataclasses.replace(access, endpoint=web.url.rpartition("/")[0])
        object_servers.write_secret(tmp_path / "secrets", "store", object_servers.S3_SECRET)
        store = dataclasses.replace(store, secret="store", secret_hosts={"store": ("127.0.0.1",)})
        other = error_of(lambda: source.fetch("s3://models/m", None, kept, BOUNDS, access=store))
        assert web.authorizations == []
    for each in (error, other):
        assert "spec.model.credentialsSecretName takes an https address" in each.sentence


def test_an_https_server_is_reached_through_the_proxy(authority: Authority, tmp_path: Path) -> None:
    with (
        serving(authority.issue(tmp_path)) as web,
        allowance.starting(BOUNDS) as allowed,
        guarded_proxy.guarding(LOOPBACK, allowed, has_credentials=False) as proxy,
    ):
        through = Outbound(networks=LOOPBACK.networks, proxy=parse_proxy(proxy.url, ""))
        kept = cache.Cache(tmp_path / "cache", bytes_max=10**9)
        access = Access(ca_file=authority.file, outbound=through)
        assert source.fetch(web.url, DIGEST, kept, BOUNDS, access=access).path.read_bytes() == CONTENT
    closed = Outbound(networks=LOOPBACK.networks, proxy=parse_proxy(proxy.url, ""))
    quick = Bounds(bytes_max=1000, total_s=0.1)
    kept = cache.Cache(tmp_path / "other", bytes_max=10**9)
    error = error_of(lambda: source.fetch(web.url, None, kept, quick, access=Access(outbound=closed)))
    assert error.reason is LoadReason.FETCH_FAILED


def test_a_store_is_asked_over_tls_with_a_configured_authority_alone(authority: Authority, tmp_path: Path) -> None:
    kept = cache.Cache(tmp_path / "cache", bytes_max=10**9)
    with serving(authority.issue(tmp_path)) as web:
        access = Access(endpoint=web.url.rpartition("/")[0], outbound=LOOPBACK)
        error = error_of(lambda: source.fetch("s3://models/m/", None, kept, BOUNDS, access=access))
        assert "certificate is not trusted (UnknownIssuer); FAIRLEAD_CA_FILE can name" in error.sentence
        assert web.targets == []
        trusting = dataclasses.replace(access, ca_file=authority.file)
        error = error_of(lambda: source.fetch("s3://models/m/", None, kept, BOUNDS, access=trusting))
        assert web.targets == ["/models?list-type=2&prefix=m%2F"]
    # What a server answers that is no store is not for the condition.
    assert error.sentence == "s3://models/m/ could not be read: what answers is not a store of this protocol"
