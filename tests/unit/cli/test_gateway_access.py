"""Where a client's key comes from, and which files of certificates are taken."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tests.support import certificates

from fairlead_cli import gateway_access

KEY = "a-key-of-a-client-0123456789"


def test_a_file_is_used_before_the_variable_and_neither_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert gateway_access.read_api_key(file, {"FAIRLEAD_API_KEY": "another"}) == KEY
    assert gateway_access.read_api_key(None, {"FAIRLEAD_API_KEY": f" {KEY} "}) == KEY
    assert gateway_access.read_api_key(None, {}) is None
    assert gateway_access.build_headers(KEY) == {"authorization": f"Bearer {KEY}"}
    assert gateway_access.build_headers(None) == {}


@pytest.mark.parametrize(
    "content", ["", "\n", "two words", f"{KEY}\n{KEY}", f"{KEY}\r\nx-other: 1", "schlüssel", "nul\0", "k" * 20_000]
)
def test_what_is_no_key_is_refused_without_its_content(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(gateway_access.AccessError, match=f"The file {file} must hold one API key") as refused:
        gateway_access.read_api_key(file, {})
    assert KEY not in str(refused.value)


def test_a_variable_of_another_form_and_a_file_that_is_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(gateway_access.AccessError, match="The variable FAIRLEAD_API_KEY must hold one API key"):
        gateway_access.read_api_key(None, {"FAIRLEAD_API_KEY": ""})
    with pytest.raises(gateway_access.AccessError, match=r"The API key can't be read: .*No such file"):
        gateway_access.read_api_key(tmp_path / "missing", {})


def test_only_the_certificates_of_the_file_are_trusted(tmp_path: Path) -> None:
    pair = certificates.make_pair()
    pair.write(tmp_path / "tls.crt", tmp_path / "tls.key")
    trust = gateway_access.build_trust("https://gateway", tmp_path / "tls.crt")
    assert trust is not None
    assert [int(each["serialNumber"], 16) for each in trust.get_ca_certs()] == [pair.serial]
    assert (trust.verify_mode, trust.check_hostname) == (ssl.CERT_REQUIRED, True)
    system = gateway_access.build_trust("https://gateway", None)
    assert system is not None
    assert (system.verify_mode, system.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert gateway_access.build_trust("http://gateway", None) is None


@pytest.mark.parametrize(
    ("url", "content", "words"),
    [
        ("http://gateway", None, "A CA file is for https alone, and the gateway's URL is http://gateway."),
        ("https://gateway", None, "must hold certificates in PEM form: .*No such file"),
        ("https://gateway", "no certificate", "must hold certificates in PEM form"),
    ],
)
def test_a_file_of_certificates_that_is_no_use_is_refused(
    tmp_path: Path, url: str, content: str | None, words: str
) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(gateway_access.AccessError, match=words):
        gateway_access.build_trust(url, file)
