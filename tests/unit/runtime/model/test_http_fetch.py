"""Models behind TLS with an authority of one's own: what is trusted, what is tried again, what is said."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.model_server import CONTENT, Web, serving

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import cache, http_fetch, source
from fairlead_runtime.model.bounds import Bounds

BOUNDS = Bounds(bytes_max=1_000_000, idle_s=5, total_s=20)
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@dataclass(frozen=True)
class Authority:
    """A certificate authority; `file` is what a user would name in FAIRLEAD_CA_FILE."""

    file: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    def issue(self, folder: Path, *, name: str = "127.0.0.1", days: int = 1) -> Path:
        """A server's certificate with its key, in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named("server"))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=10))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        path = folder / f"{name}-{days}.pem"
        path.write_bytes(_pem(key) + certificate.public_bytes(serialization.Encoding.PEM))
        return path


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    key, name = ec.generate_private_key(ec.SECP256R1()), _named("our own authority")
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(path, name, key)


def fetch(web: Web, tmp_path: Path, ca_file: Path | None, bounds: Bounds = BOUNDS) -> cache.Fetched:
    kept = cache.Cache(tmp_path / "cache", bytes_max=1_000_000_000)
    return source.fetch(web.url, DIGEST, kept, bounds, ca_file=ca_file)


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
    assert error.sentence == f"{web.url} could not be read completely: nothing came for 0.2 s"


def test_a_slow_server_is_given_up_after_the_total_time(authority: Authority, tmp_path: Path) -> None:
    quick = Bounds(bytes_max=1_000_000, idle_s=5, total_s=0.3)
    with serving(authority.issue(tmp_path)) as web:
        web.drips = True
        error = error_of(lambda: fetch(web, tmp_path, authority.file, quick))
    assert error.sentence == f"{web.url} could not be read completely: the download was not complete after 0.3 s"


@pytest.mark.parametrize("content", [None, b"", b"not PEM"])
def test_an_unreadable_file_of_authorities_is_a_configuration_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    error = error_of(lambda: fetch(Web(url="https://127.0.0.1:1/m"), tmp_path, tmp_path / "ca.pem"))
    assert error.reason is LoadReason.CONFIG_INVALID
    assert str(tmp_path / "ca.pem") in error.sentence
