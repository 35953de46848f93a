"""A collector by `https`: with an authority of one's own, with a wrong one, and with one that changes."""

from __future__ import annotations

import functools
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import authorities
from tests.support.replica_parts import wait_until
from tests.support.span_collector import collecting
from tests.unit.spans.test_exporter import make, start

from fairlead_spans import trust


def reading(file: Path) -> Callable[[], ssl.SSLContext]:
    return functools.partial(trust.build, {"--traces-ca-file": file})


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_collector_whose_authority_is_named_gets_spans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = authorities.make(tmp_path)
    with collecting(authority.server(tmp_path)) as collector:
        sender, counted = start(collector.url, trust=reading(authority.file))
        sender.offer(make())
        wait_until(lambda: counted.sent == 1)
        sender.close()
        assert len(collector.spans()) == 1
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    ("name", "days", "words"),
    [
        ("127.0.0.1", 1, "unable to get local issuer certificate"),
        ("collector.example", 1, "IP address mismatch"),
        ("127.0.0.1", -1, "certificate has expired"),
    ],
    ids=["another authority", "another host", "expired"],
)
def test_a_certificate_that_is_not_trusted_gets_no_span_and_is_said_once(
    name: str, days: int, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    authority, other = authorities.make(tmp_path), authorities.make(tmp_path / "other")
    trusted = other if "issuer" in words else authority
    with collecting(authority.server(tmp_path, name=name, days=days)) as collector:
        sender, counted = start(collector.url, trust=reading(trusted.file))
        for count in range(1, 4):
            sender.offer(make())
            wait_until(lambda count=count: counted.failed == count)
        sender.close()
        assert collector.paths == []
    (logged,) = warnings(caplog)
    assert f"spans could not be sent to {collector.url}/v1/traces: its certificate is not trusted" in logged
    assert words in logged


def test_a_new_authority_in_the_file_is_trusted_without_a_restart(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority, other = authorities.make(tmp_path), authorities.make(tmp_path / "other")
    used = tmp_path / "ca.crt"
    used.write_bytes(other.file.read_bytes())
    with collecting(authority.server(tmp_path)) as collector:
        sender, counted = start(collector.url, trust=reading(used))
        sender.offer(make())
        wait_until(lambda: counted.failed == 1)
        used.write_bytes(b"half a cert")
        sender.offer(make())
        wait_until(lambda: counted.failed == 2)
        used.write_bytes(authority.file.read_bytes())
        # The files are read after a failure, so this one may be the last that fails.
        sender.offer(make())
        wait_until(lambda: counted.failed + counted.sent == 3)
        sender.offer(make())
        wait_until(lambda: counted.sent >= 1)
        sender.close()


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["none", "empty", "other text"])
def test_a_file_without_certificates_is_said_at_the_start(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=f"--traces-ca-file: {file} holds no certificates that can be read"):
        start("https://127.0.0.1:1", trust=reading(file))
