"""What a child process gets of this one's variables."""

from __future__ import annotations

import sys

import pytest

from fairlead_runtime.model import child_process


def test_it_gets_what_finds_libraries_and_certificates_and_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/authorities.pem")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(sys, "path", ["", "/libraries"])
    found = child_process.environment(MORE="1")
    assert found["SSL_CERT_FILE"] == "/etc/authorities.pem"
    assert (found["PYTHONPATH"], found["MORE"]) == ("/libraries", "1")
    assert "AWS_SECRET_ACCESS_KEY" not in found
