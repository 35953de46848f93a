"""Which API keys are read from a folder, and what is said of the others."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import pytest

from fairlead_gateway import main
from fairlead_gateway.haproxy import api_keys

KEY = "a-key-of-a-client-0123456789"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest().upper()


def test_each_line_of_a_file_is_a_key_of_its_client(tmp_path: Path) -> None:
    (tmp_path / "team-a").write_text(f"{KEY}\n")
    (tmp_path / "team.b_2").write_text(f"{KEY}2\r\n\n{KEY}3")
    # What the kubelet puts beside the links.
    (tmp_path / "..2026_11_29").mkdir()

    found = api_keys.read_folder(tmp_path)

    assert found.digests == {digest(KEY): "team-a", digest(KEY + "2"): "team.b_2", digest(KEY + "3"): "team.b_2"}
    assert (found.clients, found.refused) == (2, {})
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "must have 1 to 4 lines"),
        (b"\n \n", "must have 1 to 4 lines"),
        (b"k" * 19, "20 to 512 ASCII characters"),
        (b"k" * 513, "20 to 512 ASCII characters"),
        (b"k" * 10_000, "must have 1 to 4 lines"),
        (b"two words of a key", "without spaces"),
        ("schlüssel-0123456789".encode(), "ASCII"),
        (b"nul-in-the-key-\0-0123456789", "ASCII"),
        (b"\n".join(b"key-of-a-client-%d" % number for number in range(5)), "must have 1 to 4 lines"),
    ],
)
def test_a_file_of_another_form_takes_only_its_own_clients_access(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "bad").write_bytes(content)
    (tmp_path / "good").write_text(KEY)

    found = api_keys.read_folder(tmp_path)

    assert found.digests == {digest(KEY): "good"}
    assert words in found.refused["bad"]


def test_a_key_of_two_clients_is_the_first_ones(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_text(KEY)
    found = api_keys.read_folder(tmp_path)
    assert found.digests == {digest(KEY): "a"}
    assert found.refused == {"b": "the client a has the same key"}


def test_of_more_clients_than_are_possible_the_last_ones_are_refused_and_a_removed_key_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = api_keys.Store(tmp_path)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(KEY + name)
    monkeypatch.setattr(api_keys, "CLIENTS_MAX", 2)
    first = store.read()
    assert set((first.digests or {}).values()) == {"a", "b"}
    assert first.refused == {"c": "at most 2 clients are possible"}
    (tmp_path / "a").unlink()
    assert set((store.read().digests or {}).values()) == {"b", "c"}


def test_what_is_no_file_refuses_its_own_client_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    (tmp_path / "b").write_text(KEY)
    found = api_keys.read_folder(tmp_path)
    assert found.digests == {digest(KEY): "b"}
    assert found.refused == {"a": "must be a file"}


def test_a_folder_that_is_gone_leaves_the_keys_before_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "keys"
    never = api_keys.Store(folder).read()
    assert never.digests is None
    folder.mkdir()
    (folder / "a").write_text(KEY)
    store = api_keys.Store(folder)
    before = store.read()
    folder.rename(tmp_path / "away")
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        assert store.read().digests == before.digests
        assert store.read().digests == before.digests
    assert [record.getMessage() for record in caplog.records] == [
        f"api keys unreadable error={folder}: No such file or directory"
    ]


def test_api_keys_need_a_port_for_those_who_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    needed = ("--listen=127.0.0.1:8080", "--admin=127.0.0.1:8081", "--state-dir=x", "--api-keys=keys")
    with pytest.raises(SystemExit):
        main.parse_settings(needed)
    assert "--api-keys requires --internal-port" in capsys.readouterr().err
    assert main.parse_settings([*needed, "--internal-port=8082"]).api_keys == Path("keys")
