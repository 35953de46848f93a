"""Web servers that break HTTP or never end: a fetch ends within its bounds, and shows no text of theirs."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support import raw_server
from tests.support.raw_server import Connection

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.outbound import Outbound, parse_networks

MIB = 1024 * 1024
LOOPBACK = Outbound(networks=parse_networks("127.0.0.0/8"))
BOUNDS = Bounds(bytes_max=8 * MIB, overhead_bytes_max=MIB, idle_s=60, total_s=120)
QUICK = Bounds(bytes_max=8 * MIB, idle_s=5, total_s=0.5)
OVERHEAD = "sent more than 1048576 bytes that are not the model's content"
TIME = "was not read within 0.5 s (FAIRLEAD_FETCH_TOTAL_SECONDS)"


def refusal(
    play: Callable[[Connection], None],
    tmp_path: Path,
    bounds: Bounds = BOUNDS,
    *,
    tls: tuple[ssl.SSLContext, Path] | None = None,
) -> LoadError:
    with raw_server.serving(play, tls and tls[0]) as served:
        access = Access(ca_file=tls and tls[1], outbound=LOOPBACK)
        with pytest.raises(LoadError) as raised:
            source.fetch(f"{served.url}/m", None, Cache(tmp_path / "cache", bytes_max=10**9), bounds, access=access)
    return raised.value


TEXTS = {
    "a banner": b"SSH-2.0-internal-host-7\r\n",
    "a long first line": b"internal" * 20_000,
    "a reason": b"HTTP/1.1 404 internal \x1b[2Jhost\r\n\r\n",
    "a reason to try again": b"HTTP/1.1 503 internal\r\n\r\n",
    "a status of its own": b"HTTP/1.1 299 internal\r\n\r\n",
    "a number that is no status": b"HTTP/1.1 777 internal\r\n\r\n",
    "a status that is no number": b"HTTP/1.1 internal\r\n\r\n",
    "a version of its own": b"HTTP/9.internal 200 OK\r\n\r\n",
    "a long header": b"HTTP/1.1 200 OK\r\ninternal: " + b"internal" * 20_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"internal: 1\r\n" * 200 + b"\r\n",
    "a size of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ninternal\r\n",
    "a range": b"HTTP/1.1 206 internal\r\nContent-Range: bytes internal\r\n\r\n",
    "a redirect to no address": b"HTTP/1.1 302 Found\r\nLocation: http://[internal\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("what", TEXTS)
def test_no_text_of_a_server_is_shown(what: str, tmp_path: Path) -> None:
    error = refusal(lambda connection: connection.send(TEXTS[what]), tmp_path, Bounds(bytes_max=1000, total_s=0.3))
    assert "internal" not in error.sentence, error.sentence
    assert "valid URI" not in error.sentence, error.sentence
    assert len(error.sentence) < 250


def test_a_redirect_that_is_not_followed_is_shown_in_part(tmp_path: Path) -> None:
    target = b"ftp://host/" + b"a" * 10_000
    error = refusal(lambda c: c.send(b"HTTP/1.1 302 Found\r\nLocation: " + target + b"\r\n\r\n"), tmp_path)
    assert error.reason is LoadReason.MODEL_FORBIDDEN
    assert error.sentence.endswith("which is not followed")


def play_slow_status(connection: Connection) -> None:
    connection.drip(b"HTTP/1.1 200 " + b"O" * 10_000)


def play_slow_headers(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n")
    connection.drip(b"X-More: " + b"a" * 10_000)


def play_slow_chunk_size(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.drip(b"0" * 10_000)


def play_slow_body_without_length(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
    connection.drip(b"x")


SLOW = [play_slow_status, play_slow_headers, play_slow_chunk_size, play_slow_body_without_length]


@pytest.mark.parametrize("play", SLOW)
def test_a_server_that_sends_a_byte_at_a_time_is_given_up_in_time(
    play: Callable[[Connection], None], tmp_path: Path
) -> None:
    error = refusal(play, tmp_path, QUICK)
    assert TIME in error.sentence, error.sentence


def play_endless_informing(connection: Connection) -> None:
    connection.send_without_end(b"HTTP/1.1 100 Continue\r\n\r\n")


def play_endless_trailers(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    connection.send_without_end(b"X-More: more\r\n")


def play_endless_chunk_extensions(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.send_without_end(b"1;" + b"a" * 10_000 + b"\r\nx\r\n")


ENDLESS = [play_endless_informing, play_endless_trailers, play_endless_chunk_extensions]


@pytest.mark.parametrize("play", ENDLESS)
def test_what_is_no_content_is_bounded(play: Callable[[Connection], None], tmp_path: Path) -> None:
    error = refusal(play, tmp_path)
    assert OVERHEAD in error.sentence, error.sentence


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one of loopback, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = serialization.NoEncryption()
    content = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(content + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_messages_of_tls_that_never_end_are_given_up_in_time(certificate: Path, tmp_path: Path) -> None:
    """OpenSSL reads tickets for later sessions one after another within one read, which no timeout of it ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.num_tickets = 2**31 - 1
    error = refusal(lambda _: None, tmp_path, QUICK, tls=(context, certificate))
    assert TIME in error.sentence, error.sentence


def test_a_body_that_the_deadline_cuts_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    """Without a length, a body ends with its connection, which the deadline ends as well."""

    def play(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nthe first half")
        connection.stopped.wait(20)

    error = refusal(play, tmp_path, QUICK)
    assert TIME in error.sentence, error.sentence
