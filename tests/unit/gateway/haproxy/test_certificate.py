"""Which files are taken as the certificate of the data port, and what is said of the others."""

from __future__ import annotations

import hashlib
import logging
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tests.support import certificates

from fairlead_gateway import main, settings
from fairlead_gateway.haproxy import certificate

NEEDED = ("--listen=127.0.0.1:8080", "--admin=127.0.0.1:8081", "--state-dir=x")


@pytest.fixture
def found(tmp_path: Path) -> settings.TlsFiles:
    pair = certificates.make_pair()
    files = settings.TlsFiles(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    pair.write(files.certificate, files.key)
    return files


def test_the_chain_follows_the_certificate_and_what_is_around_them_is_left_out(found: settings.TlsFiles) -> None:
    leaf, other = found.certificate.read_text(), certificates.make_pair().certificate.decode()
    found.certificate.write_text(f"Subject: CN = a\n\n{leaf}\n\nIssuer: CN = b\r\n{other}".replace("\n", "\r\n"))

    read = certificate.read_pair(found)

    assert read.pem == leaf + other + found.key.read_text()
    der = ssl.PEM_cert_to_DER_cert(leaf)
    assert read.fingerprint == hashlib.sha1(der).hexdigest().upper()
    assert "PRIVATE" not in repr(read)


def test_files_that_are_no_certificate_and_key_are_refused_with_the_name_of_the_file(found: settings.TlsFiles) -> None:
    good, key = found.certificate.read_bytes(), found.key.read_bytes()
    loaded = serialization.load_pem_private_key(key, None)
    locked = loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"a")
    )
    for content, path, words in (
        (b"", found.certificate, "must be a certificate in PEM form"),
        (key, found.certificate, "must be a certificate in PEM form"),
        (b"\xff" * 100, found.certificate, "must be a certificate in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n", found.certificate, "is damaged"),
        (good * 100, found.certificate, "at most 32768 bytes"),
        (b"a" * 40_000, found.certificate, "at most 32768 bytes"),
        (b"", found.key, "must be a private key in PEM form without a password"),
        (locked, found.key, "without a password"),
        (good, found.key, "must be a private key"),
    ):
        found.certificate.write_bytes(good)
        found.key.write_bytes(key)
        path.write_bytes(content)
        with pytest.raises(certificate.CertificateError, match=words) as refused:
            certificate.read_pair(found)
        assert str(path) in str(refused.value)


def test_both_files_together_are_bounded_as_haproxy_takes_them_in_one_command(
    found: settings.TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "BYTES_MAX", len(found.certificate.read_bytes()) + 10)
    with pytest.raises(certificate.CertificateError, match="bytes together with its key"):
        certificate.read_pair(found)


def test_a_pair_that_is_no_use_never_replaces_one_that_is(
    found: settings.TlsFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = certificate.Store(found, tmp_path)
    good = store.read()
    assert good is not None
    store.keep(good)
    assert (tmp_path / "tls.pem").stat().st_mode & 0o777 == 0o600

    other = certificates.make_pair().key
    found.key.write_bytes(other)
    with caplog.at_level(logging.ERROR):
        assert store.read() == good
        assert store.read() == good
    assert store.error is not None
    assert "is not the private key of" in store.error
    assert len(caplog.records) == 1, "it is logged once"
    assert other.decode().splitlines()[1] not in caplog.text

    found.key.unlink()
    assert certificate.Store(found, tmp_path).read() == good, "also after a restart"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tls.crt", "tls.pem"]


def test_what_haproxy_shows_is_read() -> None:
    text = "Filename: tls.pem\nnotAfter: Jan  2 00:00:10 1970 GMT\nSHA1 FingerPrint: AB\n"
    assert certificate.parse_shown(text) == certificate.Shown(fingerprint="AB", expires_at=86410.0)
    assert certificate.parse_shown("Can't display the certificate: Not found or the certificate is a bundle!\n") is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--tls-certificate=a", "--internal-port=1"), "must be given together"),
        (("--tls-key=a", "--internal-port=1"), "must be given together"),
        (("--tls-certificate=a", "--tls-key=b"), "--tls-certificate requires --internal-port"),
        (("--internal-port=0",), "'0' is not a port from 1 to 65535"),
        (("--internal-port=65536",), "is not a port from 1 to 65535"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(
    flags: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main.parse_settings([*NEEDED, *flags])
    assert words in capsys.readouterr().err
