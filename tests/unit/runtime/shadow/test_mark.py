"""Only what a gateway writes is a mark: an address, a port, a revision. The address itself is never used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_runtime.shadow.mark import Mark, parse, url_host

REV = "7ab0c9d1e2"


@pytest.mark.parametrize(
    ("value", "port"),
    [(f"127.0.0.1:8080/{REV}", 8080), (f"10.2.3.4:1/{REV}", 1), (f"[fd00::1]:65535/{REV}", 65535)],
)
def test_an_address_a_port_and_a_revision(value: str, port: int) -> None:
    assert parse(value.encode()) == Mark(port=port, candidate=REV)


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("10.2.3.4", "10.2.3.4"),
        ("fd00::1", "[fd00::1]"),
        ("::ffff:10.2.3.4", "10.2.3.4"),
        ("fe80::1%eth0", None),
        ("169.254.169.254", None),
        ("", None),
        ("gateway", None),
    ],
)
def test_the_address_of_a_peer_as_a_url_host(peer: str, host: str | None) -> None:
    assert url_host(peer) == host


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"gateway:8080/{REV}",
        f"127.0.0.1:0/{REV}",
        f"127.0.0.1:65536/{REV}",
        f"127.0.0.1/{REV}",
        f"fd00::1:80/{REV}",
        f"127.0.0.1:80/{REV}/../x",
        f"127.0.0.1:80/x?{REV}",
        f"user@127.0.0.1:80/{REV}",
        f"127.0.0.1:80/{REV}\n",
        "127.0.0.1:80/short",
        f"http://127.0.0.1:80/{REV}",
    ],
)
def test_an_invalid_mark_is_none(value: str) -> None:
    assert parse(value.encode()) is None


@given(st.binary(max_size=80))
def test_no_bytes_make_the_parser_raise(value: bytes) -> None:
    assert parse(value) is None
